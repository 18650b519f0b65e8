# The program in a small image: built with Rust, run without it, by a user that owns nothing but the data folder.
# tests/container.rs keeps this file and compose.yaml true to the program.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY .cargo ./.cargo
COPY Cargo.toml Cargo.lock ./
COPY migrations ./migrations
COPY tests/forgetful_disk ./tests/forgetful_disk
COPY config ./config
COPY benches ./benches
COPY demo ./demo
COPY templates ./templates
COPY src ./src
# The caches outlive a build, so only what changed is compiled again; the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin carillon \
    && cp target/release/carillon /usr/local/bin/carillon

FROM debian:bookworm-slim
# Certificates of the authorities, to recognise mail servers and providers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/carillon --create-home --shell /usr/sbin/nologin carillon
COPY --from=build /usr/local/bin/carillon /usr/local/bin/carillon
USER 10001
VOLUME /var/lib/carillon
EXPOSE 8080
# The image has no HTTP client, and the shell can ask well enough.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["carillon"]
CMD ["serve", "--data", "/var/lib/carillon", "--listen", "0.0.0.0:8080"]
