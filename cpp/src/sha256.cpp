#include "sha256.hpp"

#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>
#include <vector>

#include "hrvit/error.hpp"

namespace hrvit {
namespace {

struct FreeContext {
    void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
};

constexpr std::size_t chunk = std::size_t{1} << 20U;

void check(int status) {
    if (status != 1) {
        throw ArtefactError("OpenSSL cannot compute SHA-256",
                            "use an OpenSSL whose configuration allows it");
    }
}

}  // namespace

std::string sha256_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
    check(EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr));
    std::vector<char> bytes(chunk);
    while (file) {
        file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        check(EVP_DigestUpdate(context.get(), bytes.data(),
                               static_cast<std::size_t>(file.gcount())));
    }
    if (!file.eof()) {
        throw ArtefactError("cannot read " + path.string(), "check its permissions");
    }
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int length = 0;
    check(EVP_DigestFinal_ex(context.get(), digest.data(), &length));
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (unsigned int i = 0; i < length; ++i) {
        text += digits[digest.at(i) >> 4U];
        text += digits[digest.at(i) & 0xFU];
    }
    return text;
}

}  // namespace hrvit
