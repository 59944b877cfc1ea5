# The yard in a box: `docker compose up` serves the UIs and the schedules; `docker run ... python -m flows run brake_coast` runs a line.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /yard
RUN pip install --no-cache-dir uv
COPY requirements.lock ./
RUN uv pip sync --system --no-cache requirements.lock
COPY . .
RUN uv pip install --system --no-cache --no-deps --no-build-isolation --editable .
ENV TRAINYARD_HOST=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 4200 5000 8080
CMD ["python", "-m", "flows", "serve"]
