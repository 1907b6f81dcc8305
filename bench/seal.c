/* The peers in C of bench/seal.sh: what libsodium and OpenSSL take to seal and open, in nanoseconds of
 * the processor's time.
 * libsodium: XChaCha20-Poly1305, which is what Couplet's frames are. OpenSSL has no XChaCha20: ChaCha20-Poly1305, with the
 * key set once and a nonce for each message.
 *
 *   seal MILLISECONDS   measures each for so long; prints `NAME NANOSECONDS` lines */
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const unsigned char key[32] = {3}, head[4] = {0x11};
static unsigned char text[16384], sealed[16384 + 16];
static unsigned long long counter;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void check(int ok) {
    if (!ok) {
        fputs("seal: a library failed\n", stderr);
        exit(1);
    }
}

static void by_libsodium(size_t size) {
    unsigned char nonce[24] = {0};
    unsigned long long len;
    memcpy(nonce, &counter, sizeof counter);
    counter++;
    crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, &len, text, size, head, sizeof head, NULL, nonce, key);
    check(crypto_aead_xchacha20poly1305_ietf_decrypt(text, NULL, NULL, sealed, len, head, sizeof head, nonce, key) == 0);
}

static EVP_CIPHER_CTX *sealing, *opening;

static void by_openssl(size_t size) {
    unsigned char nonce[12] = {0};
    int len;
    memcpy(nonce, &counter, sizeof counter);
    counter++;
    check(EVP_EncryptInit_ex(sealing, NULL, NULL, NULL, nonce));
    check(EVP_EncryptUpdate(sealing, NULL, &len, head, sizeof head));
    check(EVP_EncryptUpdate(sealing, sealed, &len, text, size));
    check(EVP_EncryptFinal_ex(sealing, sealed + len, &len));
    check(EVP_CIPHER_CTX_ctrl(sealing, EVP_CTRL_AEAD_GET_TAG, 16, sealed + size));
    check(EVP_DecryptInit_ex(opening, NULL, NULL, NULL, nonce));
    check(EVP_DecryptUpdate(opening, NULL, &len, head, sizeof head));
    check(EVP_DecryptUpdate(opening, text, &len, sealed, size));
    check(EVP_CIPHER_CTX_ctrl(opening, EVP_CTRL_AEAD_SET_TAG, 16, sealed + size));
    check(EVP_DecryptFinal_ex(opening, text + len, &len));
}

static void measure(const char *name, void (*work)(size_t), size_t size, double time) {
    double began = now(), took;
    unsigned long runs = 0;
    do {
        for (int i = 0; i < 16; i++) work(size);
        runs += 16;
        took = now() - began;
    } while (took < time);
    printf("%s/%zu %.0f\n", name, size, took / runs);
}

int main(int argc, char **argv) {
    check(argc == 2 && sodium_init() >= 0);
    double time = atof(argv[1]) * 1e6;
    const size_t sizes[] = {64, 1024, 4096, 16384};
    sealing = EVP_CIPHER_CTX_new();
    opening = EVP_CIPHER_CTX_new();
    check(EVP_EncryptInit_ex(sealing, EVP_chacha20_poly1305(), NULL, key, NULL));
    check(EVP_DecryptInit_ex(opening, EVP_chacha20_poly1305(), NULL, key, NULL));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        measure("libsodium", by_libsodium, sizes[i], time);
        measure("openssl", by_openssl, sizes[i], time);
    }
    return 0;
}
