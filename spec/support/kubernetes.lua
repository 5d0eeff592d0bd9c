--- What deploy/ is made of, as Kubernetes would get it: built by kubectl's kustomize, and checked
--- by the types of third_party/kubernetes (see third_party.sh, which installs both).
local cjson = require "cjson"
local files = require "spec.support.files"

local kubernetes = {}

local quote = files.quote
local script = "spec/support/third_party.sh"

local function run(words, into)
  local parts = { "sh", script }
  for _, word in ipairs(words) do parts[#parts + 1] = quote(word) end
  local line = table.concat(parts, " ") .. (into and " >" .. quote(into) or "") .. " 2>&1; echo $?"
  local said, status = files.trimmed(line):match "^(.-)\n?(%d+)$"
  return said, tonumber(status)
end

--- Builds a folder with a kustomization.
---@param folder string
---@param path string the file that the objects are written to
---@return table[] objects decoded; raises with what kubectl said where it cannot be built
function kubernetes.build(folder, path)
  local said, status = run({ "kubectl", "kustomize", folder }, path)
  if status ~= 0 then error(folder .. ": " .. files.text(path) .. said, 2) end
  return kubernetes.read(path)
end

--- The objects of a YAML file.
---@param path string
---@return table[]
function kubernetes.read(path)
  local said, status = run { "kubernetes", "json", path }
  if status ~= 0 then error(said, 2) end
  return cjson.decode(said)
end

--- What is wrong with the objects of some files, a line for each fault, and how many there are.
---@param paths string[]
---@return string[] faults, integer objects
function kubernetes.faults(paths)
  local words, lines = { "kubernetes", "types" }, {}
  for i, path in ipairs(paths) do words[i + 2] = path end
  local said = run(words)
  local objects = said:match "(%d+) objects, %d+ faults$" or error(said, 2)
  for line in said:gmatch "([^\n]+)\n" do lines[#lines + 1] = line end
  return lines, tonumber(objects)
end

--- What the linters find in a Dockerfile, a line for each.
---@param path string
---@return string[]
function kubernetes.lint(path)
  local said, lines = run { "kubernetes", "dockerfile", path }, {}
  assert(said:find "%d+ faults$", said)
  for line in said:gmatch "([^\n]+)\n" do lines[#lines + 1] = line end
  return lines
end

--- The one object of a kind and name; nil where there is none.
---@param objects table[]
---@param kind string
---@param name string?
---@return table?
function kubernetes.find(objects, kind, name)
  for _, object in ipairs(objects) do
    if object.kind == kind and (not name or object.metadata.name == name) then return object end
  end
end

--- All objects of a kind.
---@param objects table[]
---@param kind string
---@return table[]
function kubernetes.all(objects, kind)
  local out = {}
  for _, object in ipairs(objects) do
    if object.kind == kind then out[#out + 1] = object end
  end
  return out
end

--- Whether labels have all that a selector wants.
---@param selector table name = value
---@param labels table
---@return boolean
function kubernetes.selects(selector, labels)
  for name, value in pairs(selector) do
    if labels[name] ~= value then return false end
  end
  return next(selector) ~= nil
end

--- A thing of a list by its name.
---@param list table[]
---@param name string
---@return table?
function kubernetes.named(list, name)
  for _, item in ipairs(list) do
    if item.name == name then return item end
  end
end

--- The value of an argument: `--drain 120`.
---@param args string[]
---@param option string
---@return string?
function kubernetes.argument(args, option)
  for i, word in ipairs(args) do
    if word == option then return args[i + 1] end
  end
end

return kubernetes
