# The one image of all stages, of every step of the Kubeflow pipelines and of serving.
#
#   docker build -t sap2-asr-python:0.2.0 --build-arg VERSION=0.2.0 --build-arg REVISION=$(git rev-parse HEAD) .
#   docker run --rm sap2-asr-python:0.2.0 --version
#   docker run --rm --read-only --tmpfs /tmp --tmpfs /home/sap2 -p 8000:8000 -e SAP2_API_KEY=… sap2-asr-python:0.2.0 \
#     serve --host 0.0.0.0 --model models:/sap2-asr@champion
#
# By default torch is PyPI's build, for CUDA 13.0, and works on CPUs too. The smaller image without CUDA:
#   --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# The base holds no CUDA: torch's wheels bring its libraries, the node brings the driver, and NVIDIA deletes the tags of
# nvidia/cuda some time after a release. Any Debian or Ubuntu whose python3 is 3.11 to 3.14 will do; give a digest
# (…@sha256:…) for the same bytes every time.
# Tag the image with a version, never "latest"; Kubeflow's local runner wants "python" in its name.
# There is no compiler inside: what DeepSpeed would compile at run time (its shared-memory op for several processes on
# CPUs, fused optimizers) is not used on GPUs by the settings in sap2/training/deepspeed.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm

# --- Packages first, from pyproject.toml and the lock alone: this layer is made again only when the dependencies change.
FROM ${BASE_IMAGE} AS packages
# Debian's and Ubuntu's images have no Python; the python image has its own and skips this.
# Versions of the distribution's packages are those of the base image's release, which the tag or digest names.
# hadolint ignore=DL3008
RUN command -v python3 >/dev/null || (apt-get update && apt-get install -y --no-install-recommends \
        python3 python3-venv python3-dev && rm -rf /var/lib/apt/lists/*)
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/sap2
ENV PATH=/opt/sap2/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Where a certain build of torch comes from, if not from pip's usual index.
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# The versions are those of the lock. Its hashes are not asked for: another index has other builds of torch.
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        extras = project['optional-dependencies']; \
        print(*project['dependencies'], *extras['pipeline'], *extras['kubeflow'], *extras['serve'], *extras['server'], sep='\n')" > all.txt \
    && grep -vE '^(sap2-asr|deepspeed)' all.txt > most.txt && grep '^deepspeed' all.txt > deepspeed.txt \
    && grep -oE '^[^ #]+==[^\]+' requirements.lock > pins.txt \
    && pip install -c pins.txt -r most.txt
# DeepSpeed's set-up imports torch, so it is built against the one installed above; no op is compiled ahead.
RUN DS_BUILD_OPS=0 DS_ACCELERATOR=cpu pip install --no-build-isolation -c pins.txt -r deepspeed.txt

# --- The code, in a folder of its own: a change of it leaves the layer of the packages as it is.
FROM packages AS code
COPY README.md LICENSE NOTICE ./
COPY sap2 sap2
COPY components components
COPY pipelines pipelines
# The package is sap2 alone; components and pipelines lie beside it, as in the repository.
RUN pip install --no-deps --no-build-isolation --target /opt/code . && cp -r components pipelines /opt/code/

# --- What runs: packages, code and params; no compiler, no root.
FROM ${BASE_IMAGE}
# hadolint ignore=DL3008
RUN command -v python3 >/dev/null || (apt-get update && apt-get install -y --no-install-recommends \
        python3 && rm -rf /var/lib/apt/lists/*)
COPY --from=packages /opt/sap2 /opt/sap2
COPY --from=code /opt/code /opt/code

ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sap2-asr-python" \
      org.opencontainers.image.description="Contextual speech recognition that prunes the keyword list by listening, then transcribes with what is left" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# NVIDIA_REQUIRE_CUDA: with a driver older than 580, which CUDA 13.0 needs, NVIDIA's container runtime refuses to start
# a container with GPUs and names the versions; "utility" is what the GPUs' load is read by.
# SAP2_REVISION: the commit that runs get tagged with, as there is no repository in here.
# HOME and the caches are writable for any user id, which some clusters choose themselves.
ENV PATH=/opt/code/bin:/opt/sap2/bin:$PATH \
    PYTHONPATH=/opt/code \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_REQUIRE_CUDA="cuda>=13.0" \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SAP2_REVISION=${REVISION} \
    HOME=/home/sap2 \
    HF_HOME=/tmp/huggingface \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib
RUN mkdir -p /home/sap2 /workspace && chown 10001:0 /home/sap2 /workspace && chmod g+rwX /home/sap2 /workspace
WORKDIR /workspace
COPY --chown=10001:0 params.yaml ./
USER 10001:0
EXPOSE 8000
# Of `sap2 serve`, in a container that serves: start others with `docker run --no-healthcheck`, or they are called unhealthy.
# In the pods of a cluster the probes of deploy/ ask instead.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["python3", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4).close()"]
ENTRYPOINT ["sap2"]
CMD ["--help"]
