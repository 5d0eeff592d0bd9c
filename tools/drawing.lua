-- drawing.lua: the drawing of the README, in its two languages.
--
--   lua5.4 tools/drawing.lua   writes docs/unbusy.svg and docs/unbusy.zh.svg
--
-- Plain shapes and the reader's own fonts; light or dark as the reader's machine is, on a ground of
-- its own, so that it can be read on any page.
local drawing = {}

drawing.files = { en = "docs/unbusy.svg", zh = "docs/unbusy.zh.svg" }

-- {== What it says ========================================================

local words = {
  en = {
    title = "How a call flows through unbusy",
    callers = { { "A Lua program", "client:chat { … }" },
      { "Any OpenAI SDK", "http://…:8080/v1" } },
    caller_notes = { "module, 5.4 or LuaJIT", "gateway inside nginx" },
    bands = {
      { "Answer without asking", { "cache", "warm-up", "single flight", "batch" } },
      { "Ask whom it makes sense to ask", { "route", "breaker", "limit", "waiting line" } },
      { "Try again, within bounds", { "retry", "budget", "hedge", "resume" } },
    },
    under = { { "policies", "Lua scripts decide each step" },
      { "shared memory", "one state for all processes" } },
    targets = { { "DeepSeek", "503 · 429 · keep-alives" }, { "another account", "answers" },
      { "a model of your own", "answers" } },
    fallback = { "when nobody answers", "an old answer, a text" },
    foot = "Every call ends once: an answer, an old answer, a fallback, or a failure with a code.",
  },
  zh = {
    title = "一次调用如何流经 unbusy",
    callers = { { "Lua 程序", "client:chat { … }" }, { "任何 OpenAI SDK", "http://…:8080/v1" } },
    caller_notes = { "模块：5.4 或 LuaJIT", "nginx 内的网关" },
    bands = {
      { "不必询问就回答", { "缓存", "热门预热", "并发合一", "批处理" } },
      { "只问值得问的", { "路由", "熔断器", "限流", "等待队列" } },
      { "有限度地再试", { "重试", "预算", "对冲", "续传" } },
    },
    under = { { "策略", "每一步都由 Lua 脚本决定" }, { "共享内存", "所有进程同一状态" } },
    targets = { { "DeepSeek", "503 · 429 · 保活" }, { "另一个账户", "有回答" },
      { "自己的模型", "有回答" } },
    fallback = { "无人回答时", "旧的回答，或一句话" },
    foot = "每次调用只结束一次：回答、旧的回答、降级回复，或带错误码的失败。",
  },
}

-- }========================================================================

-- {== Shapes ==============================================================

local STYLE = [[
  text { font: 14px system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; fill: #1f2328 }
  .name { font-weight: 600 }
  .note { font-size: 12px; fill: #57606a }
  .part { font-size: 13px }
  .code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px }
  .ground { fill: #ffffff; stroke: #d0d7de }
  .box { fill: #f6f8fa; stroke: #afb8c1 }
  .core { fill: #eef5ff; stroke: #0969da }
  .chip { fill: #ffffff; stroke: #8fb8e8 }
  .well { fill: #eafbee; stroke: #1a7f37 }
  .busy { fill: #fff0ee; stroke: #cf222e }
  .stand { fill: #fff8e5; stroke: #9a6700; stroke-dasharray: 5 3 }
  .way { fill: none; stroke: #57606a; stroke-width: 1.6 }
  .head { fill: #57606a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .note { fill: #9aa4af }
    .ground { fill: #0d1117; stroke: #30363d }
    .box { fill: #161b22; stroke: #484f58 }
    .core { fill: #0c1d33; stroke: #388bfd }
    .chip { fill: #0d1117; stroke: #2f5d95 }
    .well { fill: #0c2414; stroke: #3fb950 }
    .busy { fill: #2d1214; stroke: #f85149 }
    .stand { fill: #272008; stroke: #d29922 }
    .way { stroke: #9aa4af }
    .head { fill: #9aa4af }
  }
]]

local function escaped(text)
  return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"))
end

local function box(class, x, y, width, height)
  return ('<rect class="%s" x="%g" y="%g" width="%g" height="%g" rx="7"/>')
    :format(class, x, y, width, height)
end

local function text(class, x, y, words_of_it)
  return ('<text class="%s" x="%g" y="%g" text-anchor="middle">%s</text>')
    :format(class, x, y, escaped(words_of_it))
end

-- A line with a head at its right end; `bend` is where it turns from one height to the other.
local function arrow(x1, y1, x2, y2)
  local bend = (x1 + x2) / 2
  return ('<path class="way" d="M%g %g C%g %g %g %g %g %g"/>'):format(x1, y1, bend, y1, bend, y2,
    x2 - 7, y2) .. ('<path class="head" d="M%g %g l-9 -5 v10 z"/>'):format(x2, y2)
end

-- }========================================================================

local function callers(w, out)
  for i, caller in ipairs(w.callers) do
    local y = 76 + (i - 1) * 130
    out[#out + 1] = box("box", 20, y, 176, 82)
    out[#out + 1] = text("name", 108, y + 25, caller[1])
    out[#out + 1] = text("code", 108, y + 46, caller[2])
    out[#out + 1] = text("note", 108, y + 67, w.caller_notes[i])
    out[#out + 1] = arrow(196, y + 41, 250, 182)
  end
end

local function stages(w, out)
  out[#out + 1] = box("core", 250, 24, 440, 316)
  out[#out + 1] = text("name", 470, 47, "unbusy")
  for i, band in ipairs(w.bands) do
    local y = 60 + (i - 1) * 68
    out[#out + 1] = text("note", 470, y + 12, band[1])
    for k, chip in ipairs(band[2]) do
      local x = 264 + (k - 1) * 104
      out[#out + 1] = box("chip", x, y + 20, 98, 30)
      out[#out + 1] = text("part", x + 49, y + 40, chip)
    end
  end
  for i, under in ipairs(w.under) do
    local x = 264 + (i - 1) * 208
    out[#out + 1] = box("box", x, 272, 202, 54)
    out[#out + 1] = text("name", x + 101, 294, under[1])
    out[#out + 1] = text("note", x + 101, 314, under[2])
  end
end

local function targets(w, out)
  for i, target in ipairs(w.targets) do
    local y = 24 + (i - 1) * 78
    out[#out + 1] = box(i == 1 and "busy" or "well", 744, y, 196, 62)
    out[#out + 1] = text("name", 842, y + 26, target[1])
    out[#out + 1] = text("note", 842, y + 47, target[2])
    out[#out + 1] = arrow(690, 133, 744, y + 31)
  end
  out[#out + 1] = box("stand", 744, 278, 196, 62)
  out[#out + 1] = text("name", 842, 304, w.fallback[1])
  out[#out + 1] = text("note", 842, 325, w.fallback[2])
  out[#out + 1] = arrow(690, 309, 744, 309)
end

--- The drawing in one of its languages.
---@param language "en"|"zh"
---@return string svg
function drawing.of(language)
  local w, out = words[language], {}
  out[1] = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 390" role="img" lang="%s">')
    :format(language)
  out[2] = ("<title>%s</title>\n<style>\n%s</style>"):format(escaped(w.title), STYLE)
  out[3] = box("ground", 0.5, 0.5, 959, 389)
  callers(w, out)
  stages(w, out)
  targets(w, out)
  out[#out + 1] = text("note", 480, 368, w.foot)
  out[#out + 1] = "</svg>\n"
  return table.concat(out, "\n")
end

if ... ~= "tools.drawing" then -- run, not required
  for language, path in pairs(drawing.files) do
    local file = assert(io.open(path, "wb"))
    file:write(drawing.of(language))
    file:close()
  end
end

return drawing
