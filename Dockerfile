# Switchboard in a container: one static program, no shell, nothing else. docker/README.md tells how to run it.
#
#   docker build -t switchboard:0.1.0 .
#   docker run --rm -p 127.0.0.1:8080:8080 --tmpfs /tmp switchboard:0.1.0 demo
#
# The base is pinned by its tag. For builds that are the same to the byte pin its digest as well:
#   docker buildx imagetools inspect docker.io/library/rust:1.95.0-slim-bookworm
# and write FROM docker.io/library/rust:1.95.0-slim-bookworm@sha256:… below. The last stage has no base to pin.

FROM docker.io/library/rust:1.95.0-slim-bookworm AS build
WORKDIR /src
# What the program is made of, and nothing that changes without it (.dockerignore).
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY crates crates
COPY tests/Cargo.toml tests/Cargo.toml
COPY config config
# Dependencies stay in the two caches from build to build. A cache may be younger than a checkout that it is used for, and cargo goes
# by times: our own files are touched. glibc goes into the program, name resolution included; the target is named so that this holds for
# the program and not for what runs while it is built. The data folder is written by whoever is in group 0, under whatever id: OpenShift
# chooses one for each project.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    target="$(rustc --print host-tuple)" \
    && mkdir -p tests/it && touch tests/it/main.rs && find crates -type f -exec touch {} + \
    && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --package cli --target "$target" \
    && mkdir -p /out/etc/ssl/certs /out/etc/switchboard /out/data /out/tmp \
    && cp "target/$target/release/switchboard" /out/switchboard \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
    && cp config/switchboard.toml /out/etc/switchboard/ \
    && chmod 0755 /out/switchboard && chmod 0644 /out/etc/ssl/certs/* /out/etc/switchboard/* \
    && chmod 1777 /out/tmp && chown 65532:0 /out/data && chmod 2770 /out/data

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Switchboard" \
      org.opencontainers.image.description="A self-hosted gateway between applications and assistant services" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.documentation="docker/README.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /out/ /
# Beyond these, config/switchboard.toml says which it reads. A container's own address is not its loopback's: what is published, and to
# whom, is said outside.
ENV SWITCHBOARD_CONFIG=/etc/switchboard/switchboard.toml \
    SWITCHBOARD_STORE=sqlite:/data/switchboard.db \
    SWITCHBOARD_LISTEN=0.0.0.0:8080 \
    SWITCHBOARD_ADMIN_LISTEN=0.0.0.0:9090 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:0
WORKDIR /
VOLUME /data
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 CMD ["/switchboard", "healthcheck"]
ENTRYPOINT ["/switchboard"]
CMD ["serve"]
