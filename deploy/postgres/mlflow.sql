-- Beside `prefect`, which the image makes: both keep the state of their tables in a table of one name.
create database mlflow;
