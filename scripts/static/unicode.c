/* GLib's questions about characters, answered for ASCII, in place of 200 kB of tables of all of Unicode.
 * What asks them here: names of keys in key files, GVariant's text form, strings in lower case that are never shown. Beyond ASCII
 * every character counts as a letter that can be printed and has no other case and no other form. scripts/static/recipes/glib
 * puts this into libglib-2.0.a for guniprop.o and gunidecomp.o; a function that is missing here ends the link, not a device. */
#include <glib.h>
#include <string.h>

gboolean g_unichar_isalnum(gunichar c) { return c > 0x7f || g_ascii_isalnum((gchar)c); }
gboolean g_unichar_isalpha(gunichar c) { return c > 0x7f || g_ascii_isalpha((gchar)c); }
gboolean g_unichar_isprint(gunichar c) { return c > 0x9f || (c < 0x7f && g_ascii_isprint((gchar)c)); }
gboolean g_unichar_isupper(gunichar c) { return c < 0x80 && g_ascii_isupper((gchar)c); }
gboolean g_unichar_ismark(gunichar c) { return (void)c, FALSE; }
gboolean g_unichar_iswide(gunichar c) { return (void)c, FALSE; }
gboolean g_unichar_iszerowidth(gunichar c) { return (void)c, FALSE; }
gunichar g_unichar_tolower(gunichar c) { return c < 0x80 ? (gunichar)g_ascii_tolower((gchar)c) : c; }
gunichar g_unichar_toupper(gunichar c) { return c < 0x80 ? (gunichar)g_ascii_toupper((gchar)c) : c; }

GUnicodeType g_unichar_type(gunichar c)
{
    if (c > 0x7f || g_ascii_islower((gchar)c))
        return G_UNICODE_LOWERCASE_LETTER;
    if (g_ascii_isupper((gchar)c))
        return G_UNICODE_UPPERCASE_LETTER;
    if (g_ascii_isdigit((gchar)c))
        return G_UNICODE_DECIMAL_NUMBER;
    return g_ascii_iscntrl((gchar)c) ? G_UNICODE_CONTROL : G_UNICODE_OTHER_PUNCTUATION;
}

static gsize length(const gchar *text, gssize given) { return given < 0 ? strlen(text) : strnlen(text, (gsize)given); }

gchar *g_utf8_strdown(const gchar *text, gssize given) { return g_ascii_strdown(text, (gssize)length(text, given)); }
gchar *g_utf8_strup(const gchar *text, gssize given) { return g_ascii_strup(text, (gssize)length(text, given)); }
gchar *g_utf8_casefold(const gchar *text, gssize given) { return g_utf8_strdown(text, given); }

/* NULL for what is not UTF-8, as GLib's own. */
gchar *g_utf8_normalize(const gchar *text, gssize given, GNormalizeMode mode)
{
    gsize bytes = length(text, given);
    (void)mode;
    return g_utf8_validate(text, (gssize)bytes, NULL) ? g_strndup(text, bytes) : NULL;
}
