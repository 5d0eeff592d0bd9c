rockspec_format = "3.0"
package = "unbusy"
version = "0.1.0-1"
source = {
  url = "unbusy-0.1.0.tar.gz", -- lies beside it in the source rock that make dist makes
}
description = {
  summary = "Keeps an application answering when its LLM API says \"server busy\"",
  detailed = [[
    Retries, a breaker, an adaptive concurrency limit, a bounded queue, fallbacks and streams that
    are never silently cut, for DeepSeek and any OpenAI-compatible API. A C core over libcurl, with
    the decisions in Lua.
  ]],
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1",
  "lua-cjson >= 2.1.0",
}
external_dependencies = {
  CURL = { library = "curl" },
  XXHASH = { header = "xxhash.h" },
}
build = {
  type = "make",
  build_target = "rock",
  install_target = "rock-install",
  build_variables = {
    CC = "$(CC)",
    OPT = "$(CFLAGS)",
    ROCK_INCDIR = "$(LUA_INCDIR)",
    ROCK_CURL_LIBDIR = "$(CURL_LIBDIR)",
  },
  install_variables = {
    INST_LUADIR = "$(LUADIR)",
    INST_LIBDIR = "$(LIBDIR)",
    INST_BINDIR = "$(BINDIR)",
  },
}
