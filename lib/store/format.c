#include "store/format.h"

size_t tf_dtype_width(enum tf_dtype dtype)
{
    switch (dtype) {
    case TF_F32:
        return 4;
    case TF_BF16:
    case TF_F16:
        return 2;
    }
    return 0;
}

const char *tf_dtype_name(enum tf_dtype dtype)
{
    switch (dtype) {
    case TF_F32:
        return "f32";
    case TF_BF16:
        return "bf16";
    case TF_F16:
        return "f16";
    }
    return "unknown";
}

const char *tf_role_name(enum tf_role role)
{
    switch (role) {
    case TF_PARAMETER:
        return "parameter";
    case TF_MOMENT:
        return "moment";
    case TF_BUFFER:
        return "buffer";
    }
    return "unknown";
}

char *tf_digest_text(char out[TF_DIGEST_TEXT], const struct tf_digest *digest)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < sizeof(digest->bytes); i++) {
        out[2 * i] = digits[digest->bytes[i] >> 4];
        out[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    out[TF_DIGEST_TEXT - 1] = '\0';
    return out;
}
