--- What each nginx worker does when it starts.
local ffi = require "ffi"

ffi.cdef "int prctl (int option, unsigned long value, unsigned long, unsigned long, unsigned long);"

local SET_PARENT_DEATH_SIGNAL, TERM = 1, 15

local worker = {}

--- Makes this worker end with its master, even when that one is killed.
function worker.start()
  ffi.C.prctl(SET_PARENT_DEATH_SIGNAL, TERM, 0, 0, 0)
end

return worker
