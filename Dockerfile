# One image for the gateway, the processor and the migrations; the command says which.
FROM python:3.13-slim-bookworm AS build
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

FROM python:3.13-slim-bookworm
RUN useradd --system --no-create-home isoline && install --directory --owner=isoline /var/spool/isoline
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER isoline
# Exec form: the service itself gets SIGTERM and leaves in order.
ENTRYPOINT ["isoline"]
CMD ["--help"]
