# The service alone: a model folder at /model, keys at /keys, changes of the catalog at /state.
#
#   docker build -t twofold .
#   docker run -p 8000:8000 -v "$PWD/model:/model:ro" -v "$PWD/keys:/keys:ro" -v state:/state twofold
FROM python:3.11-slim

# An address of pip's from which torch is taken: without it the image holds the build with CUDA,
# gigabytes of it. docs/guides/operate.md says what to give for the CPU build.
ARG TORCH_INDEX=
ARG TORCH=2.13.0
# "serve,text" for models with a sentence encoder.
ARG EXTRAS=serve

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

WORKDIR /app
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==$TORCH"
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install -c constraints.txt ".[$EXTRAS]"

RUN useradd --create-home --uid 1000 twofold && mkdir /state && chown twofold /state
USER twofold
WORKDIR /home/twofold
VOLUME /state
EXPOSE 8000

# Threads that wait must not keep a core from the event loop; no hub is asked for anything. The
# number of threads is a container's to say: -e OMP_NUM_THREADS=2 with --cpus 2.
ENV OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1

HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready')"]

ENTRYPOINT ["twofold"]
CMD ["serve", "/model", "--host", "0.0.0.0", "--port", "8000", "--api-key-file", "/keys", "--state", "/state"]
