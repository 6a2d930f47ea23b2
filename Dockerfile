# The one image of all stages: what DVC runs on one machine and Kubeflow in a cluster.
#
#   docker build -t sap2-asr-python:0.1.0 --build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD) .
#   docker run --rm sap2-asr-python:0.1.0 --version
#
# On another base, such as a CUDA runtime (any Debian or Ubuntu whose python3 is 3.11 or 3.12):
#   --build-arg BASE_IMAGE=nvidia/cuda:12.8.1-runtime-ubuntu24.04
# Tag it with a version, never "latest"; Kubeflow's local runner wants "python" in the image's name.
# There is no compiler inside: what DeepSpeed would compile at run time (its shared-memory op for several processes on
# CPUs, fused optimizers) is not used on GPUs by the settings in sap2/training/deepspeed.
ARG BASE_IMAGE=python:3.11-slim

# --- Packages first, from pyproject.toml alone: this layer is made again only when the dependencies change.
FROM ${BASE_IMAGE} AS packages
# Debian's and Ubuntu's images have no Python; the python image has its own and skips this.
RUN command -v python3 >/dev/null || (apt-get update && apt-get install -y --no-install-recommends \
        python3 python3-venv python3-dev && rm -rf /var/lib/apt/lists/*)
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/sap2
ENV PATH=/opt/sap2/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Where a certain build of torch comes from, if not from pip's usual index.
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /build
COPY pyproject.toml .
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*project['dependencies'], *project['optional-dependencies']['pipeline'], sep='\n')" > all.txt \
    && grep -v '^deepspeed' all.txt > most.txt && grep '^deepspeed' all.txt > deepspeed.txt \
    && pip install -r most.txt
# DeepSpeed's set-up imports torch, so it is built against the one installed above; no op is compiled ahead.
RUN DS_BUILD_OPS=0 DS_ACCELERATOR=cpu pip install --no-build-isolation -r deepspeed.txt

# --- The code, in a folder of its own: a change of it leaves the layer of the packages as it is.
FROM packages AS code
COPY README.md LICENSE NOTICE ./
COPY sap2 sap2
RUN pip install --no-deps --no-build-isolation --target /opt/code .

# --- What runs: packages, code and params; no compiler, no root.
FROM ${BASE_IMAGE}
RUN command -v python3 >/dev/null || (apt-get update && apt-get install -y --no-install-recommends \
        python3 && rm -rf /var/lib/apt/lists/*)
COPY --from=packages /opt/sap2 /opt/sap2
COPY --from=code /opt/code /opt/code

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sap2-asr-python" \
      org.opencontainers.image.description="Contextual speech recognition that prunes the keyword list by listening, then transcribes with what is left" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# SAP2_REVISION: the commit that runs get tagged with, as there is no repository in here.
# HOME and the caches are writable for any user id, which some clusters choose themselves.
ENV PATH=/opt/code/bin:/opt/sap2/bin:$PATH \
    PYTHONPATH=/opt/code \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SAP2_REVISION=${REVISION} \
    HOME=/home/sap2 \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib
RUN mkdir -p /home/sap2 /workspace && chown 10001:0 /home/sap2 /workspace && chmod g+rwX /home/sap2 /workspace
WORKDIR /workspace
COPY --chown=10001:0 params.yaml ./
USER 10001:0
ENTRYPOINT ["sap2"]
CMD ["--help"]
