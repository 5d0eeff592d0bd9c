-- `tls.ca` set the file of authorities alone: the directory that is built into libcurl stayed in
-- force beside it, so that every server whom the system trusts was let in, too, and `tls.ca_path`
-- left its file. The same went for SSL_CERT_FILE and SSL_CERT_DIR.
local busyd = require "spec.support.busyd"
local engines = require "spec.support.engines"
local files = require "spec.support.files"

local quote = files.quote

-- On one engine, whose handles are used again: none may keep what another was told.
local CHILD = [[
  local engines = require "spec.support.engines"
  local e = require("unbusy.core").engine()
  local url, other, empty, own, hashed = ...
  for _, more in ipairs { {}, { ca_file = other }, {}, { ca_path = empty },
    { ca_file = other, ca_path = empty }, { ca_file = "" }, { ca_path = "" },
    { ca_file = own }, { ca_path = hashed }, {} } do
    local r = { method = "GET", headers = {}, url = url }
    for name, value in pairs(more) do r[name] = value end
    local got = engines.fetch(e, r)
    print(got.status or got.code)
  end
  e:close()
]]

-- What goes before a command whose system trusts whom `dir` says.
local function trusting(dir)
  return ("unshare --mount sh -c 'mount --bind \"$0\" /etc/ssl/certs && exec \"$@\"' %s")
    :format(quote(dir))
end

describe("who is trusted", function()
  local up, dir, other, empty, hashed

  setup(function()
    up = busyd.start { tls = true }
    dir = files.trimmed "mktemp -d"
    other, empty, hashed = dir .. "/other.pem", dir .. "/empty", dir .. "/hashed"
    os.execute(([[cd %s && mkdir empty hashed && cp %s hashed/ca-certificates.crt &&
      cp %s hashed/$(openssl x509 -hash -noout -in %s).0 &&
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3 \
        -subj /CN=other -keyout other.key -out other.pem 2>/dev/null]])
      :format(quote(dir), quote(up.ca), quote(up.ca), quote(up.ca)))
  end)
  teardown(function()
    up:stop()
    os.execute("rm -rf " .. quote(dir))
  end)

  local function asked(env)
    local out = engines.child(CHILD, env, up.tls_url .. "/v1/models", other, empty, up.ca, hashed)
    return out:gsub("\n", " ")
  end

  local function has_namespaces()
    local status = engines.child("", trusting(hashed))
    return status == "status 0\n"
  end

  it("is whom the request names, and not whom the system trusts beside", function()
    if not has_namespaces() then return pending "no file systems of our own here" end
    assert.equal("200 tls 200 tls tls tls tls 200 200 200 status 0 ",
      (asked("-u SSL_CERT_FILE -u SSL_CERT_DIR " .. trusting(hashed))))
    assert.equal("200 tls 200 tls tls tls tls 200 200 200 status 0 ",
      (asked("SSL_CERT_FILE= SSL_CERT_DIR= " .. trusting(hashed))))
  end)

  it("is else whom the environment names, and nobody beside", function()
    if not has_namespaces() then return pending "no file systems of our own here" end
    local wanted = "tls tls tls tls tls tls tls 200 200 tls status 0 "
    assert.equal(wanted, (asked("-u SSL_CERT_DIR SSL_CERT_FILE=" .. quote(other) .. " "
      .. trusting(hashed))))
    assert.equal(wanted, (asked("-u SSL_CERT_FILE SSL_CERT_DIR=" .. quote(empty) .. " "
      .. trusting(hashed))))
  end)
end)
