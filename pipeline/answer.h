/* answer.h - which option an answer in words means. Exactly one, or none: whoever names two options has not chosen. */
#ifndef VM_ANSWER_H
#define VM_ANSWER_H

/* An answer about options (A), (B), ... of which there are n (2 to 26): the number of its option, -1 when it names none
 * or several. In this order: the letter behind the last "answer", "option" or "choice"; a letter that begins the answer
 * ("B.", "(B)", "B) the dog"); the only letter in parentheses; the only letter that stands alone in upper case. "A"
 * before a word in lower case is the article. A lone letter may be of either case. */
int answer_letter(const char *text, int n);

/* An answer about two pictures: 0 the first, 1 the second, -1 none or both. The word behind the last "answer", "option"
 * or "choice", else the only one of them: "first", "1st", "image 1" against "second", "2nd", "image 2". */
int answer_order(const char *text);
#endif
