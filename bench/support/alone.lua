--- A network of one's own: some software listens on every interface there is, so it is only run
--- where there is none but loopback.
local alone = {}

local MARK = "UNBUSY_BENCH_ALONE"

-- As another user than root, only what that one may do is kept beside the namespace.
local function unshare()
  local pipe = assert(io.popen "id -u")
  local is_root = pipe:read "*l" == "0"
  pipe:close()
  return is_root and "unshare -n" or "unshare -cn --keep-caps"
end

local function succeeds(command)
  local ok = os.execute(command)
  return ok == true or ok == 0
end

--- Runs the script once more, in a network of its own, and ends this process with its status.
--- Comes back where this is that run (true), or where the kernel does not allow it (false).
---@param script string
---@param before string? a command that needs the network, run before it is gone; it may fail
---@return boolean
function alone.run(script, before)
  if os.getenv(MARK) then return true end
  local enter = unshare() .. " sh -c 'ip link set lo up && exec \"$@\"' sh "
  if not succeeds(enter .. "true 2>/dev/null") then return false end
  local host = assert(arg[-1], "which Lua is this?")
  if before then succeeds(before) end
  os.exit(succeeds(("%s env %s=yes %s %s"):format(enter, MARK, host, script)) and 0 or 1)
end

return alone
