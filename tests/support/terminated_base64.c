/* librtmp, if it is built with GnuTLS as Debian's is, takes what this function of nettle writes for a C string, which it
 * is not: the response of an Adobe login gets whatever is behind it on the stack, and the heap gets too much of it. No
 * server can let such a client in. Preloaded, this writes the zero as well, and the rest of librtmp is as it is. */

#include <stddef.h>
#include <stdint.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void nettle_base64_encode_raw(char *to, size_t length, const uint8_t *from)
{
  for (size_t i = 0; i < length; i += 3) {
    size_t left = length - i;
    uint32_t bits = from[i] << 16;
    bits |= left > 1 ? from[i + 1] << 8 : 0;
    bits |= left > 2 ? from[i + 2] : 0;
    *to++ = digits[bits >> 18];
    *to++ = digits[bits >> 12 & 63];
    *to++ = left > 1 ? digits[bits >> 6 & 63] : '=';
    *to++ = left > 2 ? digits[bits & 63] : '=';
  }
  *to = 0;
}
