/*
** sip.c: SipHash-2-4 with 128 bits.
*/
#include "base/sip.h"

#include <stdint.h>

typedef struct sip {
  uint64_t a, b, c, d;
} sip;

/* A word of 8 bytes, the lowest first. */
static uint64_t word (const unsigned char *bytes, size_t count) {
  uint64_t w = 0;
  while (count-- > 0)
    w = w << 8 | bytes[count];
  return w;
}

static void write_word (unsigned char *to, uint64_t w) {
  int i;
  for (i = 0; i < 8; i++, w >>= 8)
    to[i] = (unsigned char)w;
}

static uint64_t turned (uint64_t w, int bits) {
  return w << bits | w >> (64 - bits);
}

static void rounds (sip *s, int count) {
  while (count-- > 0) {
    s->a += s->b; s->b = turned(s->b, 13) ^ s->a; s->a = turned(s->a, 32);
    s->c += s->d; s->d = turned(s->d, 16) ^ s->c;
    s->a += s->d; s->d = turned(s->d, 21) ^ s->a;
    s->c += s->b; s->b = turned(s->b, 17) ^ s->c; s->c = turned(s->c, 32);
  }
}

static void take (sip *s, uint64_t w) {
  s->d ^= w;
  rounds(s, 2);
  s->a ^= w;
}

static uint64_t give (sip *s) {
  rounds(s, 4);
  return s->a ^ s->b ^ s->c ^ s->d;
}

void ub_sip (const void *bytes, size_t length, const unsigned char key[UB_SIP_BYTES],
             unsigned char hash[UB_SIP_BYTES]) {
  const unsigned char *at = bytes;
  uint64_t k0 = word(key, 8), k1 = word(key + 8, 8);
  size_t left = length;
  sip s = {UINT64_C(0x736f6d6570736575) ^ k0, UINT64_C(0x646f72616e646f6d) ^ k1 ^ 0xee,
           UINT64_C(0x6c7967656e657261) ^ k0, UINT64_C(0x7465646279746573) ^ k1};
  for (; left >= 8; at += 8, left -= 8)
    take(&s, word(at, 8));
  take(&s, word(at, left) | (uint64_t)length << 56);
  s.c ^= 0xee;
  write_word(hash, give(&s));
  s.b ^= 0xdd;
  write_word(hash + 8, give(&s));
}
