# The binary on a base that has a C library, the certificates of public authorities, and nothing else.
#
#   docker build --tag vestibule .
#   docker run --publish 8080:8080 --volume ./manifests:/manifests:ro vestibule serve --manifests /manifests --http 0.0.0.0:8080
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package proxy && cp target/release/vestibule /vestibule

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /vestibule /vestibule
# Plain, TLS, admin. Ports below 1024 need CAP_NET_BIND_SERVICE.
EXPOSE 8080 8443 10254
# The settings decide how long the drain takes; the platform must wait longer than that (30 s by default).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/vestibule"]
