# The yard in a box: `docker compose up` serves the pages and the nights; compose.yaml says how to run a line.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /yard
RUN pip install --no-cache-dir uv
COPY requirements.lock ./
RUN uv pip sync --system --no-cache requirements.lock
COPY . .
RUN uv pip install --system --no-cache --no-deps --no-build-isolation --editable .
# Not as root, and under the number of whoever owns the mounted checkout: git would refuse it as somebody else's, and the
# home and Prefect's pages, which it unpacks at its start, need a place that any number may write to. Such a number has no
# name in the box, and DVC asks for one: LOGNAME.
RUN git config --system --add safe.directory /yard && chown -R 1000:1000 /yard
ENV HOME=/tmp LOGNAME=yard PREFECT_UI_STATIC_DIRECTORY=/tmp/prefect-ui TRAINYARD_HOST=0.0.0.0 PYTHONUNBUFFERED=1
USER 1000:1000
EXPOSE 4200 4300 5000
CMD ["python", "-m", "flows", "serve"]
