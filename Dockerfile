# The exporter and what it needs in a virtual environment, on a pinned base; pip and the sources stay behind.

FROM python:3.13.16-slim-trixie AS wheel
WORKDIR /src
RUN python3 -m venv /build
COPY requirements/build.txt requirements/
RUN /build/bin/pip install --no-cache-dir --require-hashes --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist .

FROM python:3.13.16-slim-trixie AS install
RUN python3 -m venv /build \
 && python3 -m venv --without-pip /opt/video-api-exporter
COPY requirements/image.txt /
RUN /build/bin/pip --python /opt/video-api-exporter/bin/python \
        install --no-cache-dir --require-hashes --only-binary :all: --requirement /image.txt
COPY --from=wheel /dist /dist
RUN /build/bin/pip --python /opt/video-api-exporter/bin/python \
        install --no-cache-dir --no-deps --no-index --find-links /dist video-api-exporter

FROM python:3.13.16-slim-trixie
ARG VERSION=0+unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="video-api-exporter" \
      org.opencontainers.image.description="Prometheus exporter for accounts at hosted video-AI APIs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/video-api-exporter/video-api-exporter" \
      org.opencontainers.image.documentation="https://video-api-exporter.github.io/video-api-exporter/" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

COPY --from=install /opt/video-api-exporter /opt/video-api-exporter
# A named volume takes the owner of what it covers.
RUN install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/video-api-exporter
VOLUME ["/var/lib/video-api-exporter"]

# The health address is for HEALTHCHECK: it asks for no password and speaks no TLS, whatever the web config says.
ENV PATH=/opt/video-api-exporter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VIDEO_API_EXPORTER_REVISION=${REVISION} \
    VIDEO_API_EXPORTER_WEB_HEALTH_ADDRESS=127.0.0.1:10391

# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 10390
STOPSIGNAL SIGTERM
# No proxy is asked, whatever the environment names for the vendors.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["python3", "-c", \
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', 10391, timeout=4); c.request('GET', '/-/healthy'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["video-api-exporter"]
CMD ["--config.file=/etc/video-api-exporter/config.yaml"]
