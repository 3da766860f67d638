# How every target here is compiled.

function(hrvit_compile_options target)
    target_compile_features(${target} PUBLIC cxx_std_17)
    set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
    if(MSVC)
        target_compile_options(${target} PRIVATE /W4 $<$<BOOL:${HRVIT_WERROR}>:/WX>)
        return()
    endif()
    target_compile_options(${target} PRIVATE
        -Wall -Wextra -Wpedantic -Wconversion -Wshadow
        $<$<BOOL:${HRVIT_WERROR}>:-Werror>
        # A product and a sum rounded once are not the float32 that Python computes.
        -ffp-contract=off)
    if(HRVIT_SANITIZE)
        set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all)
        target_compile_options(${target} PRIVATE ${sanitizers} -fno-omit-frame-pointer)
        target_link_options(${target} PUBLIC ${sanitizers})
    endif()
endfunction()

# The palettes of known class sets and of all others, as a header.
function(hrvit_embed_palettes target)
    foreach(name IN ITEMS ade20k cityscapes glasbey)
        set(file ${CMAKE_CURRENT_SOURCE_DIR}/palettes/${name}.txt)
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
        string(TOUPPER ${name} upper)
        file(READ ${file} HRVIT_${upper})
    endforeach()
    configure_file(src/palettes.hpp.in palettes.hpp @ONLY)
endfunction()
