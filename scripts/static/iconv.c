/* iconv for UTF-8 and ASCII only, in place of musl's, which carries 160 kB of tables of other character sets.
 * All text that this program reads and writes is UTF-8; GLib asks for ASCII where no locale is set. scripts/static/recipes/glib
 * puts this into libglib-2.0.a, so that the linker finds it before libc's. */
#include <errno.h>
#include <iconv.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { ASCII = 1, UTF8 = 2 };

static int charset(const char *name)
{
    static const char *const ascii[] = { "ASCII", "US-ASCII", "ANSI_X3.4-1968", "646", "C", "POSIX" };
    size_t length = strcspn(name, "/");
    if ((length == 5 && !strncasecmp(name, "UTF-8", 5)) || (length == 4 && !strncasecmp(name, "UTF8", 4)))
        return UTF8;
    for (size_t i = 0; i < sizeof ascii / sizeof *ascii; i++)
        if (length == strlen(ascii[i]) && !strncasecmp(name, ascii[i], length))
            return ASCII;
    return 0;
}

iconv_t iconv_open(const char *to, const char *from)
{
    int t = charset(to), f = charset(from);
    if (!t || !f) {
        errno = EINVAL;
        return (iconv_t)-1;
    }
    return (iconv_t)(uintptr_t)(t == UTF8 && f == UTF8 ? UTF8 : ASCII);
}

int iconv_close(iconv_t cd)
{
    (void)cd;
    return 0;
}

/* Length of the sequence at s by its first byte; 0: not a first byte; the caller looks at the bytes that follow. */
static size_t sequence(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

/* Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte. */
static int well_formed(const unsigned char *s, size_t length)
{
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if (length < 3)
        return 1;
    return !(s[0] == 0xe0 && s[1] < 0xa0) && !(s[0] == 0xed && s[1] > 0x9f) && !(s[0] == 0xf0 && s[1] < 0x90) &&
           !(s[0] == 0xf4 && s[1] > 0x8f);
}

static size_t fail(int why)
{
    errno = why;
    return (size_t)-1;
}

size_t iconv(iconv_t cd, char **restrict in, size_t *restrict in_left, char **restrict out, size_t *restrict out_left)
{
    if (!in || !*in)
        return 0;
    while (*in_left) {
        const unsigned char *s = (const unsigned char *)*in;
        size_t length = sequence(*s);
        if (!length || (length > 1 && (uintptr_t)cd == ASCII))
            return fail(EILSEQ);
        if (length > *in_left)
            return fail(EINVAL);
        if (!well_formed(s, length))
            return fail(EILSEQ);
        if (length > *out_left)
            return fail(E2BIG);
        memcpy(*out, s, length);
        *in += length, *in_left -= length;
        *out += length, *out_left -= length;
    }
    return 0;
}
