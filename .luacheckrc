std = "min"
max_line_length = 100
exclude_files = { "build", "node_modules", "spec/support/busyd/server" }
files["spec"] = { std = "min+busted" }
files["tools"] = { std = "lua54" }
files["lua/unbusy/gateway"] = { globals = { "ngx" } }
files["spec/support/kube_api/server.lua"] = { globals = { "ngx" } }
files["examples/neovim"] = { globals = { "vim" } }
files["bench/support/cosocket.lua"] = { globals = { "ngx" } }
files["bench/support/wrk_post.lua"] = { globals = { "wrk", "init", "done" } }
files["lua/unbusy/batch/*.lua"] = { read_globals = { "null", "now" } }
files["lua/unbusy/policies/*.lua"] = { read_globals = { "null", "now" } }
