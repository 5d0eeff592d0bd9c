local unbusy = require "unbusy"

local client = unbusy.new {
  targets = { { name = "deepseek", url = os.getenv "DEEPSEEK_URL" or "https://api.deepseek.com" } },
  fallback = "系统繁忙,请稍后再试",
}
local reply, message = client:chat {
  model = "deepseek-flash", messages = { { role = "user", content = arg[1] or "天气如何" } },
}
if not reply then error(message) end
print(("%s (%s, tries: %d)"):format(reply.text, reply.source, reply.tries))
