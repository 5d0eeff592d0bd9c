--- Good answers as server-sent events.
local cjson = require "cjson"
local text = require "server.text"

local encode = cjson.encode

local stream = {}

local CHUNKS = 4  -- pieces of the text when the programme names no number

--- One event.
function stream.event(data)
  return "data: " .. data .. "\n\n"
end

-- How the events of a call are built: `say(delta, finish_reason)` and `usage()`.
local function writer(call, answers)
  local chat = call.kind == "chat"
  local head = answers.head(call, chat and "chat.completion.chunk" or "text_completion")
  local tail = call.include_usage and ',"usage":null}' or "}"
  local w = {}
  function w.say(delta, finish_reason, index)
    return stream.event(head .. '"choices":[{"index":' .. (index or 0) ..
      (chat and ',"delta":' or ',"text":') .. encode(delta) ..
      ',"logprobs":null,"finish_reason":' ..
      (finish_reason and encode(finish_reason) or "null") .. "}]" .. tail)
  end
  function w.usage(said)
    return stream.event(head .. '"choices":[],"usage":' ..
      answers.usage(call, call.answer, said) .. "}")
  end
  return w
end

-- Tool calls: the names first, then the arguments in fragments.
local function add_tools(pieces, w, tools, chunks)
  for _, tool in ipairs(tools) do
    pieces[#pieces + 1] = w.say { tool_calls = { {
      index = tool.index, id = tool.id, type = "function",
      ["function"] = { name = tool.name, arguments = "" },
    } } }
    for _, fragment in ipairs(text.pieces(tool.arguments, chunks)) do
      pieces[#pieces + 1] = w.say { tool_calls = { {
        index = tool.index, ["function"] = { arguments = fragment },
      } } }
    end
  end
end

local function add_text(pieces, w, field, s, chunks)
  for _, piece in ipairs(text.pieces(s, chunks)) do
    pieces[#pieces + 1] = w.say { [field] = piece }
  end
end

local function chat_pieces(call, w, answers, chunks)
  local said = answers.say(call)
  local pieces = { w.say { role = "assistant", content = "" } }
  if said.reasoning then add_text(pieces, w, "reasoning_content", said.reasoning, chunks) end
  if said.content then add_text(pieces, w, "content", said.content, chunks) end
  if said.tools then add_tools(pieces, w, said.tools, chunks) end
  local last = #pieces
  pieces[last + 1] = w.say({}, said.finish_reason)
  return pieces, { 2, last }, said.content or ""
end

local function completion_pieces(call, w, chunks)
  local pieces, whole = {}, {}
  for i, prompt in ipairs(call.inputs) do
    whole[i] = text.completion(prompt, call.answer)
    for _, piece in ipairs(text.pieces(whole[i], chunks)) do
      pieces[#pieces + 1] = w.say(piece, nil, i - 1)
    end
  end
  local last = #pieces
  for i = 1, #call.inputs do
    pieces[#pieces + 1] = w.say("", call.answer.finish_reason or "stop", i - 1)
  end
  return pieces, { 1, last }, table.concat(whole)
end

--- The play of a good answer as a stream: a role-only delta, the text's pieces, the finish reason,
--- the usage when asked for, `[DONE]`.
function stream.play(call, answers)
  local w = writer(call, answers)
  local chunks = call.answer.chunks or call.answer.tokens or CHUNKS
  local pieces, paced, said
  if call.kind == "chat" then
    pieces, paced, said = chat_pieces(call, w, answers, chunks)
  else
    pieces, paced, said = completion_pieces(call, w, chunks)
  end
  if call.include_usage then pieces[#pieces + 1] = w.usage(said) end
  pieces[#pieces + 1] = stream.event "[DONE]"
  return {
    status = 200, pieces = pieces, paced = paced, good = true, patient = true, sse = true,
    headers = { ["Content-Type"] = "text/event-stream", ["Cache-Control"] = "no-cache" },
  }
end

return stream
