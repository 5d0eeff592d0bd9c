// Loaded before the mock. It imports zlib.crc32, which Node.js has since 20.15, and calls it only
// for a binary protocol that is not asked for here. With a name in that place, Debian 12's 18 does.
const zlib = require("node:zlib");

zlib.crc32 ??= () => {
  throw new Error("this Node.js has no zlib.crc32");
};
