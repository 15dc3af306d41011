// SPDX-License-Identifier: Apache-2.0
#include "core/io/file.h"
#include "core/io/gzip.h"
#include "core/io/sha256.h"
#include "tests/unit/capture.h"

#include <signal.h>
#include <sys/resource.h>

// FIPS 180-4 examples, and lengths around the padding's edges against coreutils' sha256sum.
static void sha256_known_answers(void)
{
    char hex[65], text[201];
    at_sha256_text("", 0, hex);
    AT_CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    at_sha256_text("abc", 3, hex);
    AT_CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    at_sha256_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    AT_CHECK_STR(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    struct at_sha256 million;
    uint8_t digest[32];
    memset(text, 'a', 200);
    at_sha256_init(&million);
    for (size_t done = 0, n = 1; done < 1000000; done += n, n = n % 199 + 1) {
        n = n < 1000000 - done ? n : 1000000 - done;
        at_sha256_add(&million, text, n);
    }
    at_sha256_finish(&million, digest);
    at_sha256_hex(digest, hex);
    AT_CHECK_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    at_sha256_text(text, 55, hex);
    AT_CHECK_STR(hex, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    at_sha256_text(text, 64, hex);
    AT_CHECK_STR(hex, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

static void reads_what_it_wrote(void)
{
    struct capture c;
    struct at_log *log = capture_start(&c);
    const char *path = scratch_path("a");
    uint8_t *data;
    size_t size, big = 200001;
    char *bytes = at_calloc(big, 1), hex[65], expected[65];
    for (size_t i = 0; i < big; i++)
        bytes[i] = (char)(i * 7 % 251);
    struct at_file_writer *w = at_file_writer_create(log, path);
    for (size_t at = 0, n = 1; at < big; at += n, n = n * 3 + 1) {
        n = n < big - at ? n : big - at;
        AT_CHECK(at_file_writer_put(w, bytes + at, n));
    }
    AT_CHECK(!at_file_exists(path));
    AT_CHECK(at_file_writer_commit(w));
    at_file_writer_destroy(&w);
    AT_CHECK(at_file_read(log, path, big, &data, &size));
    AT_CHECK(size == big && memcmp(data, bytes, big) == 0 && data[size] == 0);
    at_free(data);
    at_sha256_text(bytes, big, expected);
    AT_CHECK(at_sha256_file(log, path, hex));
    AT_CHECK_STR(hex, expected);
    at_free(bytes);
    AT_CHECK(!at_file_read(log, path, big - 1, &data, &size) && capture_says(&c, "more than the 200000"));
    AT_CHECK(at_file_replace(log, path, "", 0));
    struct at_map map;
    AT_CHECK(at_file_map(log, path, &map) && map.size == 0 && map.data);
    at_file_unmap(&map);
    capture_start(&c);
    AT_CHECK(!at_file_map(log, scratch_path("none"), &map) && capture_says(&c, "No such file"));
    AT_CHECK(!at_file_read(log, scratch, 1, &data, &size) && capture_says(&c, "not a regular file"));
    AT_CHECK(!at_file_writer_create(log, scratch) && capture_says(&c, "is a folder"));
    AT_CHECK(!at_file_writer_create(log, scratch_path("no/a")));
    AT_CHECK(at_file_replace(log, "/dev/null", "x", 1));
    AT_CHECK(at_file_exists("/dev/null"));
}

static size_t names_here(void)
{
    char **names;
    size_t count;
    AT_CHECK(at_dir_list(NULL, scratch, &names, &count));
    at_names_free(&names, count);
    return count;
}

static void an_abandoned_write_leaves_nothing(void)
{
    const char *path = scratch_path("keep");
    size_t before = names_here(), size;
    uint8_t *data;
    AT_CHECK(at_file_replace(NULL, path, "old", 3));
    struct at_file_writer *w = at_file_writer_create(NULL, path);
    AT_CHECK(at_file_writer_put(w, "new", 3));
    AT_CHECK_INT(names_here(), before + 2);
    at_file_writer_destroy(&w);
    AT_CHECK(!w);
    AT_CHECK_INT(names_here(), before + 1);
    AT_CHECK(at_file_read(NULL, path, 10, &data, &size));
    AT_CHECK_STR((char *)data, "old");
    at_free(data);
}

static void a_full_disk_is_an_error_and_the_old_file_stands(void)
{
    struct capture c;
    static uint8_t zeros[300000];
    const char *path = scratch_path("keep");
    size_t before = names_here(), size;
    uint8_t *data;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &small);
    struct at_file_writer *w = at_file_writer_create(capture_start(&c), path);
    AT_CHECK(!at_file_writer_put(w, zeros, sizeof(zeros)));
    AT_CHECK(!at_file_writer_put(w, "x", 1));
    AT_CHECK(!at_file_writer_commit(w));
    at_file_writer_destroy(&w);
    setrlimit(RLIMIT_FSIZE, &old);
    AT_CHECK(strstr(c.text, "keep: cannot write: File too large") && c.log.error == AT_ERROR_FAILED);
    AT_CHECK_INT(names_here(), before);
    AT_CHECK(at_file_read(NULL, path, 10, &data, &size));
    AT_CHECK_STR((char *)data, "old");
    at_free(data);
    AT_CHECK(!at_file_replace(capture_start(&c), "/dev/full", "x", 1) && strstr(c.text, "free some space"));
}

static void folders(void)
{
    struct capture c;
    struct at_log *log = capture_start(&c);
    AT_CHECK(at_dir_make(log, scratch_path("x/y//z/")) && at_dir_make(log, scratch_path("x/y")));
    AT_CHECK(at_dir_exists(scratch_path("x/y/z")) && !at_file_exists(scratch_path("x/y/z")));
    AT_CHECK(at_file_replace(log, scratch_path("x/f"), "1", 1));
    AT_CHECK(!at_dir_make(log, scratch_path("x/f/g")) && strstr(c.text, "is a file; name a folder"));
    AT_CHECK_INT(log->error, AT_ERROR_INPUT);
    AT_CHECK(symlink("/nowhere", scratch_path("x/link")) == 0);
    char **names;
    size_t count;
    AT_CHECK(at_dir_list(log, scratch_path("x"), &names, &count) && count == 3);
    AT_CHECK_STR(names[0], "f");
    AT_CHECK_STR(names[1], "link");
    AT_CHECK_STR(names[2], "y");
    at_names_free(&names, count);
    AT_CHECK(at_path_remove(log, scratch_path("x")) && !at_dir_exists(scratch_path("x")));
    AT_CHECK(at_path_remove(log, scratch_path("x")));
}

static bool put_version(const char *text)
{
    struct capture c;
    struct at_log *log = capture_start(&c);
    char *tmp = at_dir_replace_begin(log, scratch_path("ckpt/"));
    char *file = tmp ? at_path_join(tmp, "weights") : NULL;
    bool ok = file && at_file_replace(log, file, text, 1) && at_dir_replace_commit(log, scratch_path("ckpt/"));
    at_free(tmp);
    at_free(file);
    return ok;
}

static int version(void)
{
    FILE *f = fopen(scratch_path("ckpt/weights"), "r"); // no allocation of ours
    int c = f ? fgetc(f) : 0;
    if (f)
        fclose(f);
    return c;
}

static bool replace_dir(void)
{
    int before = version();
    bool ok = put_version("3");
    AT_CHECK(version() == '3' || version() == before); // whatever failed, one of them is there
    return ok;
}

static void a_folder_is_replaced_whole(void)
{
    AT_CHECK(put_version("1") && version() == '1');
    AT_CHECK(put_version("2") && version() == '2');
    char *tmp = at_dir_replace_begin(NULL, scratch_path("ckpt")); // and never committed, as after kill -9
    at_free(tmp);
    AT_CHECK(version() == '2');
    fail_each_allocation(replace_dir);
    AT_CHECK(version() == '3');
    AT_CHECK(!at_dir_exists(scratch_path("ckpt.tmp")) && !at_dir_exists(scratch_path("ckpt.old")));
    AT_CHECK(!at_dir_replace_commit(NULL, scratch_path("never-begun")));
}

static void check_text(char *text, const char *expected)
{
    AT_CHECK_STR(text, expected);
    at_free(text);
}

static void paths(void)
{
    check_text(at_path_join("a", "b"), "a/b");
    check_text(at_path_join("a/", "b"), "a/b");
    check_text(at_path_join("", "b"), "b");
    check_text(at_path_join("a", "/b"), "/b");
    check_text(at_path_dir("a/b"), "a");
    check_text(at_path_dir("/b"), "/");
    check_text(at_path_dir("b"), ".");
    AT_CHECK_STR(at_path_name("a/b"), "b");
    AT_CHECK_STR(at_path_name("b"), "b");
}

static void gzip(void)
{
    // "attune\n" sixteen times, packed by gzip.
    static const uint8_t packed[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x4b, 0x2c,
                                     0x29, 0x29, 0xcd, 0x4b, 0xe5, 0x4a, 0xa4, 0x17, 0x05, 0x00, 0x57, 0xbf,
                                     0xd6, 0xfb, 0x70, 0x00, 0x00, 0x00};
    struct capture c;
    uint8_t *out;
    size_t size;
    AT_CHECK(at_gzip_is(packed, sizeof(packed)) && !at_gzip_is("PK", 2) && !at_gzip_is(packed, 1));
    AT_CHECK(at_gzip_unpack(capture_start(&c), "t", packed, sizeof(packed), 112, &out, &size));
    AT_CHECK(size == 112 && memcmp(out, "attune\nattune\n", 14) == 0 && out[112] == 0);
    at_free(out);
    AT_CHECK(!at_gzip_unpack(capture_start(&c), "t", packed, sizeof(packed) - 9, 112, &out, &size) && !out &&
             capture_says(&c, "t: is damaged or cut short"));
    AT_CHECK(!at_gzip_unpack(capture_start(&c), "t", packed, sizeof(packed), 100, &out, &size) && !out &&
             capture_says(&c, "unpacks to more than 100 bytes"));
}

// Pages that the process holds.
static long resident(void)
{
    long all = 0, held = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    AT_CHECK(f && fscanf(f, "%ld %ld", &all, &held) == 2);
    if (f)
        fclose(f);
    return held;
}

static void what_was_read_leaves_memory(void)
{
    struct capture c;
    size_t size = (size_t)16 << 20;
    uint8_t *bytes = at_calloc(size, 1);
    struct at_map map = {0};
    memset(bytes, 7, size);
    AT_CHECK(at_file_replace(capture_start(&c), scratch_path("large"), bytes, size) &&
             at_file_map(&c.log, scratch_path("large"), &map));
    at_free(bytes);
    long sum = 0, before = resident();
    for (size_t i = 0; i < map.size; i += 4096)
        sum += map.data[i];
    long read = resident();
    at_file_map_pass(&map, map.data + 100, map.size - 200);
    long passed = resident();
    AT_CHECK(read - before > 3500 && passed - before < 500);
    for (size_t i = 0; i < map.size; i += 4096)
        sum -= map.data[i];
    AT_CHECK_INT(sum, 0); // it is read anew
    at_file_unmap(&map);
}

int main(void)
{
    scratch_make();
    AT_RUN(sha256_known_answers);
    AT_RUN(gzip);
    AT_RUN(reads_what_it_wrote);
    AT_RUN(an_abandoned_write_leaves_nothing);
    AT_RUN(a_full_disk_is_an_error_and_the_old_file_stands);
    AT_RUN(folders);
    AT_RUN(a_folder_is_replaced_whole);
    AT_RUN(paths);
    AT_RUN(what_was_read_leaves_memory);
    scratch_remove();
    return at_test_end();
}
