--- One mutex shared by nginx's workers. It lives in memory mapped before they are forked.
local ffi = require "ffi"

ffi.cdef [[
typedef union { char bytes[64]; long align; } busyd_mutex;
void *mmap (void *at, size_t length, int protection, int flags, int fd, long offset);
int pthread_mutexattr_init (void *attributes);
int pthread_mutexattr_setpshared (void *attributes, int shared);
int pthread_mutex_init (busyd_mutex *m, const void *attributes);
int pthread_mutex_lock (busyd_mutex *m);
int pthread_mutex_unlock (busyd_mutex *m);
]]

local READ_WRITE, SHARED_ANONYMOUS, PROCESS_SHARED = 3, 0x21, 1

local address = ffi.C.mmap(nil, 4096, READ_WRITE, SHARED_ANONYMOUS, -1, 0)
assert(ffi.cast("intptr_t", address) ~= -1, "mmap")
local mutex = ffi.cast("busyd_mutex *", address)
local attributes = ffi.new "busyd_mutex"
assert(ffi.C.pthread_mutexattr_init(attributes) == 0)
assert(ffi.C.pthread_mutexattr_setpshared(attributes, PROCESS_SHARED) == 0)
assert(ffi.C.pthread_mutex_init(mutex, attributes) == 0)

local lock = {}

--- Takes the mutex. What follows must neither wait nor raise until `give`.
function lock.take()
  ffi.C.pthread_mutex_lock(mutex)
end

--- Gives it back.
function lock.give()
  ffi.C.pthread_mutex_unlock(mutex)
end

return lock
