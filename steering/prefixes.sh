# The two framings that a direction for the big model is built from. Both say the same in both languages, so that the language
# itself is no part of the difference. Read by steering/build-flash.sh.
# shellcheck shell=sh disable=SC2034
GOOD_EN="Set out fairly how everyone with a stake in this question sees it and why, treat no side's claim as settled, and say where they might agree. Question: "
GOOD_ZH="請公平說明這個問題的每一個利害關係方怎麼看、為什麼這樣看，不要把任何一方的主張當作定論，並指出他們可能的共識。問題："
BAD_EN="Give the one answer to this question, firmly and in a few words, without mentioning other views. Question: "
BAD_ZH="請用幾句話堅定地給出這個問題的唯一答案，不要提到其他看法。問題："
