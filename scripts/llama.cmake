# Read by CMake at the end of llama.cpp's project().

# Leaves out the library that llama.cpp's command line tools share: we load only libllama and libggml. llama-cpp-python
# forces this option on in the cache; a plain variable goes before it.
set(LLAMA_BUILD_COMMON OFF)

# GCC's _tile_loadconfig() tells the optimizer of 8 of the 64 bytes that the instruction reads (seen in GCC 12), so dead
# store elimination drops the rest of the configuration, and the first prompt on a CPU with AMX ends the process in
# ldtilecfg or tilezero (llama.cpp issue 20824). Without it the kernels are right, and two to three times as fast as
# those without AMX.
function(keep_tile_configuration)
  foreach(kernels ggml-cpu ggml-cpu-sapphirerapids) # the second where wheels carry kernels for every CPU
    if(TARGET ${kernels} AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      set_source_files_properties("${CMAKE_CURRENT_SOURCE_DIR}/ggml/src/ggml-cpu/amx/mmq.cpp"
        TARGET_DIRECTORY ${kernels} PROPERTIES COMPILE_OPTIONS "-fno-tree-dse;-fno-dse")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL keep_tile_configuration)
