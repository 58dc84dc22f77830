# Score images and make maps, without JupyterLab: see the page "From a laptop to a cluster".
#
#     docker build -t realness-worker .
#     docker run --rm realness-worker demo
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive REALNESS_CACHE=/cache
WORKDIR /src
COPY setup.py settings.ini README.md LICENSE MANIFEST.in ./
COPY .ci/constraints.txt .ci/constraints.txt
COPY realness realness
RUN pip install -c .ci/constraints.txt ".[lite,demo,ray]"

WORKDIR /work
ENTRYPOINT ["realness"]
CMD ["--help"]
