# One image for the gateway, the processor and the migrations; the command says which.
ARG PYTHON=python:3.13.9-slim-bookworm

FROM ${PYTHON} AS build
# A mirror of PyPI: docker compose build --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL=https://pypi.org/simple
WORKDIR /isoline
COPY requirements/service.lock requirements/
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/service.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY processor processor
COPY shared shared
COPY isoline isoline
COPY migrations migrations
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${PYTHON}
# By number, so that an orchestrator can see that it is not root.
RUN groupadd --gid 10001 isoline && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin isoline \
    && install --directory --owner=isoline --group=isoline /var/spool/isoline
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
# Exec form: the service itself gets SIGTERM and leaves in order.
ENTRYPOINT ["isoline"]
CMD ["--help"]
