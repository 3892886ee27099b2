// Memory that a thread keeps between calls, aligned to a cache line.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace gap {

class Scratch {
   public:
    Scratch() = default;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { std::free(data_); }

    // Room for `count` values, uninitialised; what it held before is lost when it must grow.
    template <typename T>
    T* get(size_t count) {
        const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
        if (bytes > size_) {
            std::free(data_);
            data_ = std::aligned_alloc(64, bytes);
            size_ = data_ ? bytes : 0;
            if (!data_) throw std::bad_alloc();
        }
        return static_cast<T*>(data_);
    }

   private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace gap
