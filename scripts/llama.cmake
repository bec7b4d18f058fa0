# Read by CMake at the end of llama.cpp's project(). Leaves out the library that llama.cpp's command line tools share:
# we load only libllama and libggml. llama-cpp-python forces this option on in the cache; a plain variable goes before it.
set(LLAMA_BUILD_COMMON OFF)
