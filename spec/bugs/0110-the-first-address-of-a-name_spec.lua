-- Of a Redis server's name only the first address was ever tried. `localhost` is ::1 first on many
-- systems: a server that listens on IPv4 alone was never reached, each time anew.
local engines = require "spec.support.engines"
local files = require "spec.support.files"
local redis_server = require "spec.support.redis_server"

-- A resolver that knows one name, which has the addresses of the environment in their order; and
-- 192.0.2.1 takes no connection and refuses none: its socket never becomes writable.
local NETWORK = [[
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int resolver (const char *, const char *, const struct addrinfo *, struct addrinfo **);
typedef int connector (int, const struct sockaddr *, socklen_t);

int getaddrinfo (const char *name, const char *service, const struct addrinfo *hints,
                 struct addrinfo **found) {
  resolver *real = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
  char *list, *address, *rest;
  if (name == NULL || strcmp(name, "several.example") != 0)
    return real(name, service, hints, found);
  list = rest = strdup(getenv("ADDRESSES"));
  while ((address = strsep(&rest, ",")) != NULL) {
    real(address, service, hints, found);
    while (*found != NULL)
      found = &(*found)->ai_next;
  }
  free(list);
  return 0;
}

int connect (int fd, const struct sockaddr *to, socklen_t size) {
  connector *real = (connector *)dlsym(RTLD_NEXT, "connect");
  struct sockaddr_in at = {.sin_family = AF_INET};
  struct pollfd writable = {fd, POLLOUT, 0};
  static char bytes[65536];
  int listener;
  if (((const struct sockaddr_in *)to)->sin_addr.s_addr != inet_addr("192.0.2.1"))
    return real(fd, to, size);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  size = sizeof at;
  bind(listener, (struct sockaddr *)&at, size);
  listen(listener, 1);
  getsockname(listener, (struct sockaddr *)&at, &size);
  real(fd, (struct sockaddr *)&at, size);
  while (poll(&writable, 1, 300) > 0 && write(fd, bytes, sizeof bytes) > 0) {}
  errno = EINPROGRESS;
  return -1;
}
]]

local ASK = [[
local core = require "unbusy.core"
local core_redis = require "unbusy.core_redis"
local process = require "spec.support.fork"
local password = arg[2] ~= "" and arg[2] or nil
local link = assert(core_redis.link { host = "several.example", port = tonumber(arg[1]),
  database = 0, prefix = "t:", most = 1000, password = password })
assert(link:begin())

local function ask(seconds)
  local id = assert(link:get "k")
  local limit = core.now() + seconds
  while link:look() > 0 and core.now() < limit do
    process.readable(link:descriptor(), 0.1)
    link:step()
  end
  link:drop()
  local _, kind, why = link:entry(id, "k")
  local lost = link:lost()
  return kind .. " " .. tostring(why) .. " " .. tostring(lost)
end

for _ = 1, 2 do print(ask(tonumber(arg[3]))) end
link:close()
local left = core_redis.stats()
print(left.links, left.descriptors, left.blocks)
]]

describe("a name of several addresses", function()
  local dir, server, asking
  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir " .. dir)
    files.write(dir .. "/network.c", NETWORK)
    local ok = os.execute(("cd %s && cc -shared -fPIC -o network.so network.c -ldl"):format(dir))
    assert.is_true(ok == true or ok == 0)
    server = redis_server.start { port = true }
    asking = redis_server.start { port = true, args = "--requirepass secret" }
  end)
  teardown(function()
    server:stop()
    asking:stop()
    os.execute("rm -r " .. dir)
  end)

  -- What a link says that asks twice.
  local function told(addresses, port, password, seconds)
    return engines.child(ASK, (os.getenv "UNBUSY_SANITIZED"
      and "ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0 " or "")
      .. ("LD_PRELOAD=%s/network.so ADDRESSES=%s"):format(dir, addresses),
      tostring(port), password or "", tostring(seconds or 30))
  end

  local FINE = "miss nil timeout\n" -- and it was there until it was dropped
  local NOTHING_LEFT = "0\t0\t0\nstatus 0\n"

  it("is there where one of them is", function()
    for _, addresses in ipairs { "127.0.0.1,127.0.0.2", "::1,127.0.0.1",
      "127.0.0.2,127.0.0.1,127.0.0.3" } do
      assert.equal(FINE .. FINE .. NOTHING_LEFT, told(addresses, server.port), addresses)
    end
  end)

  it("is let in there with its password", function()
    assert.equal(FINE .. FINE .. NOTHING_LEFT,
      told("::1,127.0.0.2,127.0.0.1", asking.port, "secret"))
  end)

  it("is not there where none of them is", function()
    local lost = "failed network network\n"
    assert.equal(lost .. lost .. NOTHING_LEFT, told("::1,127.0.0.2,127.0.0.3", server.port))
  end)

  it("is asked at the next one where one only keeps silent", function()
    assert.equal("failed timeout timeout\n" .. FINE .. NOTHING_LEFT,
      told("192.0.2.1,127.0.0.1", server.port, nil, 2))
  end)
end)
