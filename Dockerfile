# Serves a model by the light half of pellucid: no torch, no root, nothing written outside /data and /tmp.
#
#   docker build -t pellucid .
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -p 127.0.0.1:8000:8000 -v "$PWD/runs/pneumonia:/model:ro" -v pellucid-data:/data pellucid
FROM python:3.12-slim

WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt '.[serve,dicom]' \
 && rm -rf /build \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin pellucid \
 && install -d -o pellucid -g pellucid /data

WORKDIR /
USER 10001
ENV PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp PELLUCID_CACHE=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["pellucid", "serve"]
CMD ["/model", "--host", "0.0.0.0", "--store", "/data/store.sqlite"]
