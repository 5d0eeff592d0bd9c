/*
** sip.h: a keyed hash that nobody without the key can foretell.
**
** SipHash-2-4 with 128 bits (Aumasson, Bernstein: "SipHash: a fast short-input
** PRF", INDOCRYPT 2012; its authors' reference code for the longer output). Some
** hundred instructions for a short text, where an HMAC takes thousands. It tells
** texts apart without comparing them: how long that takes says nothing of them.
*/
#ifndef UB_SIP_H
#define UB_SIP_H

#include <stddef.h>

#define UB_SIP_BYTES 16  /* of a key, and of a hash */

void ub_sip (const void *bytes, size_t length, const unsigned char key[UB_SIP_BYTES],
             unsigned char hash[UB_SIP_BYTES]);

#endif
