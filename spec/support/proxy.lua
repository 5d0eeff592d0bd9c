--- An HTTP proxy that keeps what it was sent, for specs of what a proxy may see.
--
--     local proxy = proxies.start()
--     proxy.port, proxy:heads()    -- every request's header block, as it came
--
-- It joins a CONNECT to that port of this machine, and answers all else with a 503. One connection
-- at a time.
local direct = require "spec.support.direct"
local files = require "spec.support.files"

local proxies = {}
proxies.__index = proxies

local PROGRAM = [[
use IO::Socket::INET;
use IO::Select;
my ($dir) = @ARGV;
sub put { open(my $f, ">>", "$dir/$_[0]") or die; print $f $_[1]; close($f) }
my $server = IO::Socket::INET->new(Listen => 64, LocalAddr => "127.0.0.1") or die;
put("part", $server->sockport);
rename("$dir/part", "$dir/port");
sub relay {
  my ($one, $other) = @_;
  my $all = IO::Select->new($one, $other, \*STDIN);
  while (my @ready = $all->can_read) {
    for my $from (@ready) {
      return unless sysread($from, my $bytes, 65536);
      syswrite($from == $one ? $other : $one, $bytes);
    }
  }
}
my $all = IO::Select->new($server, \*STDIN);
while (my ($ready) = $all->can_read) {
  last if $ready == \*STDIN;
  my ($client, $head) = (scalar $server->accept, "");
  while ($head !~ /\r\n\r\n/) { last unless sysread($client, $head, 1, length $head) }
  put("heads", $head . "\0");
  if ($head =~ /^CONNECT \S+:(\d+) /) {
    my $up = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $1) or next;
    syswrite($client, "HTTP/1.1 200 Joined\r\n\r\n");
    relay($client, $up);
  } else {
    syswrite($client, "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  }
  close($client);
}
]]

--- Starts one on a free port; it ends with this process.
function proxies.start()
  local pipe = assert(io.popen 'mktemp -d "${TMPDIR:-/tmp}/proxy.XXXXXX"')
  local self = setmetatable({ dir = pipe:read "*l" }, proxies)
  pipe:close()
  files.write(self.dir .. "/proxy.pl", PROGRAM)
  self.pipe = assert(io.popen(("exec perl %s/proxy.pl %s"):format(self.dir, self.dir), "w"))
  for _ = 1, 500 do
    self.port = files.find(self.dir .. "/port")
    if self.port then return self end
    direct.pause(0.02)
  end
  error "the proxy did not start"
end

--- The header blocks that have come since the last look.
function proxies:heads()
  local list = {}
  for head in (files.find(self.dir .. "/heads") or ""):gmatch "[^%z]+" do list[#list + 1] = head end
  os.remove(self.dir .. "/heads")
  return list
end

function proxies:stop()
  self.pipe:close()
  os.execute("rm -rf " .. self.dir)
end

return proxies
