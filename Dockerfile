# The gateway: `docker build -t unbusy .`, then
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8080:8080 -e DEEPSEEK_API_KEY -e CLIENT_KEY \
#     -v "$PWD/gateway.lua:/etc/unbusy/gateway.lua:ro" unbusy
# The file is one for `unbusy serve`; since others can reach it, it needs client keys.

FROM debian:12-slim AS build
RUN apt-get update \
  && apt-get install -y --no-install-recommends gcc libc6-dev make pkg-config \
    lua5.4 liblua5.4-dev luajit2 libluajit2-5.1-dev libcurl4-openssl-dev libhiredis-dev libxxhash-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Makefile LICENSE NOTICE CHANGELOG.md ./
COPY csrc csrc
COPY lua lua
COPY bin bin
RUN make install LUA=lua5.4 DESTDIR=/out && make install LUA=luajit DESTDIR=/out

FROM debian:12-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates lua5.4 lua-cjson libcurl4 \
    libhiredis0.14 nginx-light libnginx-mod-http-lua lua-resty-core \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /out /
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["unbusy"]
CMD ["serve", "--listen", "*:8080", "/etc/unbusy/gateway.lua"]
