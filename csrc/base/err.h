/*
** err.h: every way a call can fail, declared once.
**
** 'UB_ERRORS' lists name, number, code word and the plain sentence used
** when nothing better is known. The code words are public (Lua sees them
** as the third result of a failure); 'lua/unbusy/codes.lua' says what each
** one means, and a spec holds the two lists against each other.
*/
#ifndef UB_ERR_H
#define UB_ERR_H

#define UB_ERRORS(X) \
  X(UB_EBUSY,       1, "busy",      "the server is busy") \
  X(UB_ELIMITED,    2, "limited",   "the account's rate limit is reached") \
  X(UB_EQUOTA,      3, "quota",     "the account has no credit left") \
  X(UB_EAUTH,       4, "auth",      "the key was refused") \
  X(UB_EINVALID,    5, "invalid",   "the request was refused as wrong") \
  X(UB_ETIMEOUT,    6, "timeout",   "the time is up") \
  X(UB_ENETWORK,    7, "network",   "the connection failed") \
  X(UB_ETLS,        8, "tls",       "the secure connection failed") \
  X(UB_EOPEN,       9, "open",      "the breaker is open") \
  X(UB_EBUDGET,    10, "budget",    "the retry budget is spent") \
  X(UB_EFULL,      11, "full",      "no place is free") \
  X(UB_ECUT,       12, "cut",       "the answer was cut short") \
  X(UB_EEMPTY,     13, "empty",     "the answer was empty") \
  X(UB_EUPSTREAM,  14, "upstream",  "the server's answer made no sense") \
  X(UB_EPOLICY,    15, "policy",    "the policy failed") \
  X(UB_ECANCELLED, 16, "cancelled", "the call was cancelled") \
  X(UB_ECLOSED,    17, "closed",    "it is closed") \
  X(UB_ENOMEM,     18, "nomem",     "not enough memory")

typedef enum ub_err {
  UB_OK = 0,
#define UB_ENUM(name, number, word, text) name = number,
  UB_ERRORS(UB_ENUM)
#undef UB_ENUM
  UB_ERRORS_END
} ub_err;

/* The code word of an error ("busy"); NULL for UB_OK and unknown numbers. */
const char *ub_err_word (int err);

/* A plain sentence for an error; never NULL. */
const char *ub_err_text (int err);

#endif
