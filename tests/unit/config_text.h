/* Configs from texts and back, for the tests of train/config. */
#ifndef TF_TESTS_CONFIG_TEXT_H
#define TF_TESTS_CONFIG_TEXT_H

#include "train/config.h"

#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline struct tf_config make(void)
{
    struct tf_config config;
    struct tf_err err = {0};

    if (tf_config_init(&config, &err) != TF_OK)
        fail_msg("%s", err.text);
    return config;
}

static inline void parse_into(struct tf_config *config, const char *text)
{
    struct tf_err err = {0};

    if (tf_config_parse(config, "run.yaml", text, strlen(text), TF_CONFIG, &err) != TF_OK)
        fail_msg("%s", err.text);
}

static inline struct tf_config parse(const char *text)
{
    struct tf_config config = make();

    parse_into(&config, text);
    return config;
}

static inline void refused(const char *text, const char *message)
{
    struct tf_config config = make();
    struct tf_err err = {0};

    assert_int_equal(tf_config_parse(&config, "run.yaml", text, strlen(text), TF_CONFIG, &err),
                     TF_CONFIG);
    assert_string_equal(err.text, message);
    assert_int_equal(err.code, TF_CONFIG);
    tf_config_fini(&config);
}

static inline void set(struct tf_config *config, const char *assignment)
{
    struct tf_err err = {0};

    if (tf_config_set(config, assignment, &err) != TF_OK)
        fail_msg("%s", err.text);
}

static inline void set_refused(const char *assignment, const char *message)
{
    struct tf_config config = make();
    struct tf_err err = {0};

    assert_int_equal(tf_config_set(&config, assignment, &err), TF_CONFIG);
    assert_string_equal(err.text, message);
    tf_config_fini(&config);
}

/* The defaults with `text` over them fail the check (or pass it: message NULL). */
static inline void checks_to(const char *text, const char *message)
{
    struct tf_config config = parse(text);
    struct tf_err err = {0};
    enum tf_code code = tf_config_check(&config, &err);

    assert_string_equal(err.text, message == NULL ? "" : message);
    assert_int_equal(code, message == NULL ? TF_OK : TF_CONFIG);
    tf_config_fini(&config);
}

static inline char *print(const struct tf_config *config)
{
    struct tf_err err = {0};
    char *text;
    size_t size;

    if (tf_config_print(config, &text, &size, &err) != TF_OK)
        fail_msg("%s", err.text);
    assert_int_equal(strlen(text), size);
    return text;
}

#endif
