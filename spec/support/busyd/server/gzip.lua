--- gzip by the zlib that nginx itself is linked to.
local ffi = require "ffi"

ffi.cdef [[
typedef struct {
  const uint8_t *next_in; unsigned avail_in; unsigned long total_in;
  uint8_t *next_out; unsigned avail_out; unsigned long total_out;
  const char *msg; void *state; void *zalloc; void *zfree; void *opaque;
  int data_type; unsigned long adler; unsigned long reserved;
} busyd_z_stream;
int deflateInit2_ (busyd_z_stream *, int level, int method, int window_bits, int memory,
                   int strategy, const char *version, int size);
int deflate (busyd_z_stream *, int flush);
int deflateEnd (busyd_z_stream *);
const char *zlibVersion (void);
unsigned long crc32 (unsigned long crc, const char *bytes, unsigned length);
unsigned long crc32_combine (unsigned long a, unsigned long b, long b_length);
]]

local z = ffi.load "libz.so.1"

local FULL_FLUSH, FINISH = 3, 4
local GZIP, RAW = 15 + 16, -15  -- window bits: with a gzip frame, and without any
local BLOCK = 2 ^ 20

local gzip = {}

local function deflate(s, window_bits, flush)
  local stream = ffi.new "busyd_z_stream"
  assert(z.deflateInit2_(stream, 9, 8, window_bits, 8, 0, z.zlibVersion(), ffi.sizeof(stream)) == 0)
  local room = #s + 1024
  local out = ffi.new("uint8_t[?]", room)
  stream.next_in, stream.avail_in = ffi.cast("const uint8_t *", s), #s
  stream.next_out, stream.avail_out = out, room
  z.deflate(stream, flush)
  local packed = ffi.string(out, room - stream.avail_out)
  z.deflateEnd(stream)
  return packed
end

--- 's' as a gzip file.
function gzip.pack(s)
  return deflate(s, GZIP, FINISH)
end

local function little_endian(n)
  return string.char(n % 256, math.floor(n / 256) % 256, math.floor(n / 65536) % 256,
    math.floor(n / 2 ^ 24) % 256)
end

--- A gzip file that is tiny and holds 'bytes' spaces, rounded up to whole MiB: one packed block
--- that refers to nothing before it, many times over.
---@return string head, string block, integer times, string tail
function gzip.bomb(bytes)
  local spaces = (" "):rep(BLOCK)
  local times = math.ceil(bytes / BLOCK)
  local one = z.crc32(0, spaces, BLOCK)
  local crc = z.crc32(0, nil, 0)
  for _ = 1, times do crc = z.crc32_combine(crc, one, BLOCK) end
  return "\31\139\8\0\0\0\0\0\2\3", deflate(spaces, RAW, FULL_FLUSH), times,
    "\3\0" .. little_endian(tonumber(crc)) .. little_endian(times * BLOCK % 2 ^ 32)
end

return gzip
