# The server in an image of its own, without rights.
#
#   docker build --tag kerria:local .
#   docker run --rm --publish 127.0.0.1:8080:8080 --volume kerria-data:/var/lib/kerria --env KERRIA_LISTEN=0.0.0.0:8080 kerria:local
#
# Other commands run beside it, as in `docker exec CONTAINER kerria user list`.
FROM rust:1-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin kerria && mkdir /data

FROM debian:bookworm-slim
# For databases that are reached with TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/target/release/kerria /usr/local/bin/kerria
COPY --from=build --chown=65532:65532 /data /var/lib/kerria
USER 65532:65532
ENV KERRIA_DATA_DIR=/var/lib/kerria
EXPOSE 8080
# A stop is asked for by SIGTERM, and requests under way are answered: let it have more than server.shutdown_grace.
ENTRYPOINT ["/usr/local/bin/kerria"]
CMD ["serve"]
