/* test_hash.c - published vectors, every split of the input, both ways of the CRC. */
#include "io/hash.c"
#include "io/sha1.h"
#include "tests/test.h"

TEST(crc32c_vectors) { /* RFC 3720 B.4, and the check value of the CRC catalogue */
    uint8_t b[48];
    EXPECT(crc32c(0, "123456789", 9) == 0xe3069283);
    EXPECT(crc32c(0, "", 0) == 0);
    memset(b, 0, 32);
    EXPECT(crc32c(0, b, 32) == 0x8a9136aa);
    memset(b, 255, 32);
    EXPECT(crc32c(0, b, 32) == 0x62a8ab43);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)i;
    EXPECT(crc32c(0, b, 32) == 0x46dd794e);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)(31 - i);
    EXPECT(crc32c(0, b, 32) == 0x113fdb5c);
}

TEST(crc32c_by_parts_and_both_ways) {
    uint8_t b[300];
    uint64_t seed = 1;
    for (int i = 0; i < 300; i++) b[i] = (uint8_t)test_rand(&seed);
    for (size_t n = 0; n <= 300; n++) {
        EXPECT(crc32c(crc32c(0, b, n), b + n, 300 - n) == crc32c(0, b, 300));
        EXPECT(by_table(~0u, b + n % 7, n / 2) == by_instruction(~0u, b + n % 7, n / 2) || !has_instruction);
    }
}

TEST(sha1_vectors) { /* FIPS 180-4 examples, and RFC 3174's; lengths around the padding */
    char hex[41], text[200];
    sha1_hex(hex, "", 0);
    EXPECT_STR(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    sha1_hex(hex, "abc", 3);
    EXPECT_STR(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    sha1_hex(hex, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56);
    EXPECT_STR(hex, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    for (int i = 0; i < 80; i++) memcpy(text + 8 * (i % 25), "01234567", 8);
    sha1_hex(hex, text, 55);
    EXPECT_STR(hex, "adfc128b4a89c560e754c1659a6a90968b55490e");
    sha1_hex(hex, text, 64);
    EXPECT_STR(hex, "e0c094e867ef46c350ef54a7f59dd60bed92ae83");
    sha1_hex(hex, text, 200);
    EXPECT_STR(hex, "e10498b18e5f983db7bf79b8c711875c8d92fd5e");
}

TEST(sha256_vectors) { /* FIPS 180-4 examples and NIST CAVS short messages */
    static const struct {
        const char *in, *hex;
    } v[] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
          "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
          "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
    };
    char hex[65];
    for (int i = 0; i < VM_LEN(v); i++) {
        sha256_hex(hex, v[i].in, strlen(v[i].in));
        EXPECT_STR(hex, v[i].hex);
    }
    sha256 s; /* a million times 'a' */
    char a[1000];
    uint8_t d[32];
    memset(a, 'a', sizeof a);
    sha256_start(&s);
    for (int i = 0; i < 1000; i++) sha256_add(&s, a, sizeof a);
    sha256_end(&s, d);
    hex_text(hex, d, 32);
    EXPECT_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(sha256_every_length_and_split) {
    char b[200], whole[65], parts[65];
    uint8_t d[32];
    for (int i = 0; i < 200; i++) b[i] = (char)i;
    for (size_t n = 0; n <= 200; n++)
        for (size_t k = 0; k <= n; k += 13) {
            sha256 s;
            sha256_hex(whole, b, n);
            sha256_start(&s);
            sha256_add(&s, b, k);
            sha256_add(&s, b + k, n - k);
            sha256_end(&s, d);
            hex_text(parts, d, 32);
            EXPECT_STR(parts, whole);
        }
}

TEST(of_files) {
    vm_error e = { 0 };
    char hex[65];
    EXPECT(sha256_file(hex, "/dev/null", &e) == VM_EINPUT);
    vm_error_clear(&e);
    EXPECT(sha256_file(hex, "tests/no-such-file", &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "No such file");
}

int main(void) {
    RUN(crc32c_vectors);
    RUN(crc32c_by_parts_and_both_ways);
    RUN(sha1_vectors);
    RUN(sha256_vectors);
    RUN(sha256_every_length_and_split);
    RUN(of_files);
    return test_end();
}
