---@meta unbusy.core
-- luacheck: ignore 212 241

-- The series of metrics, as core_parts.meta.lua has the other parts.

---@class unbusy.core
local core = {}

---@class unbusy.core.metrics
local metrics = {}

---@class unbusy.core.metrics_set
local metrics_set = {}

---@alias unbusy.core.metrics_kind "counter"|"level"|"seconds"|"moments"|"tokens"|"sizes"

---@param options table every field
---@param reserved nil
---@param region userdata? in which it lives, with a name
---@param name string?
---@return unbusy.core.metrics? m, string? message, string? code
function core.metrics(options, reserved, region, name) end

---@param kind unbusy.core.metrics_kind
---@param key string name, or name{labels}
---@param quiet boolean? not shown as long as it is 0
---@return true? made, string? message, string? code
function metrics:open(kind, key, quiet) end

---@alias unbusy.core.metrics_item
---| { [1]: unbusy.core.metrics_kind, [2]: string, [3]: string?, from: integer? }

---@param list unbusy.core.metrics_item[] 1 to 12
---@return unbusy.core.metrics_set? set, string? message, string? code
function metrics:set(list) end

---@param name string
---@param from integer? some of them, from there on; 0: the first
---@return string? lines, integer|string|nil next, string? code
function metrics:text(name, from) end

---@param name string
---@return { labels: string, value: number?, count: integer?, sum: number? }[]?
---@return string? message, string? code
function metrics:list(name) end

---@return { bytes: integer, used: integer, series: integer, refused: integer, began: number }
function metrics:stats() end

--- May be called twice.
function metrics:close() end

---@param ... number? one for each series; nil for none
---@return boolean there
function metrics_set:note(...) end
