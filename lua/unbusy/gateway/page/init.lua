--- The page of /status: one file of HTML, with its style and script in it.
--
-- It asks nobody but the gateway it came from (`status.json`), and the policy that goes with it
-- lets it do nothing else: what stands in it runs only with the nonce of that one answer, so that a
-- text that found its way into the page could do nothing there. Whatever the gateway tells is put
-- into the page as text. It holds no data itself.
local core = require "unbusy.core"
local markup = require "unbusy.gateway.page.markup"
local script = require "unbusy.gateway.page.script"
local style = require "unbusy.gateway.page.style"

local page = {}

-- Only what stands in braces and capitals; a "%" in the texts means nothing.
local parts = { STYLE = style, SCRIPT = script }
local text = markup:gsub("{{(%u+)}}", function(name) return parts[name] end)

local POLICY = table.concat({ "default-src 'none'", "style-src 'nonce-%s'",
  "script-src 'nonce-%s'", "connect-src 'self'", "img-src data:", "base-uri 'none'",
  "form-action 'none'", "frame-ancestors 'none'" }, "; ")

--- The page, with a nonce of its own.
---@return string html, string policy the Content-Security-Policy that goes with it
function page.make()
  local nonce = core.random_id() .. core.random_id()
  return (text:gsub("{{nonce}}", nonce)), (POLICY:gsub("%%s", nonce))
end

return page
