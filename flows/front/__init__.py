"""The front page of `make serve`: how the yard stands, for whoever has a browser and no shell. It only reads.

disk      what lies in data/: newest recordings, quarantine, headline numbers, pages and films
servers   what Prefect and MLflow tell over HTTP: runs, nights, champions, the headline number of each run
gathered  all of it, gathered in the background and kept, so that the page answers at once
page      the page
server    `python -m flows.front.server`, the process that serves it, and the pages and films of data/
"""
