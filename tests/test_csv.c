/* test_csv.c - reading and writing of tables. */
#include "io/csv.h"
#include "tests/test.h"

#include <unistd.h>

static const char *folder;

/* Rows as "a|b" lines; bad rows as "!message". */
static char *read_all(const char *text, size_t bytes, char delimiter, int flags) {
    static char out[4096];
    csv_reader *r;
    vm_error e = { 0 };
    out[0] = 0;
    if (csv_open_text(&r, text, bytes, "t.csv", delimiter, flags, &e)) {
        snprintf(out, sizeof out, "!%s\n", e.msg);
        return out;
    }
    csv_row row;
    for (int rc; (rc = csv_next(r, &row, &e));) {
        size_t n = strlen(out);
        if (rc < 0) snprintf(out + n, sizeof out - n, "!%s\n", e.msg);
        else
            for (int64_t i = 0; i < row.n; i++)
                n += (size_t)snprintf(out + n, sizeof out - n, "%s%s", row.field[i], i + 1 < row.n ? "|" : "\n");
        vm_error_clear(&e);
    }
    csv_close(r);
    EXPECT(vm_mem_used() == 0);
    return out;
}

#define ROWS(text, want) EXPECT_STR(read_all(text, sizeof(text) - 1, 0, 0), want)

TEST(fields) {
    ROWS("a,b\n1,2\n", "a|b\n1|2\n");
    ROWS("a,b\r\n1,2", "a|b\n1|2\n");
    ROWS("a,b\r1,2\r", "a|b\n1|2\n");
    ROWS("a\tb\n1\t2,3\n", "a|b\n1|2,3\n");
    ROWS("a;b\n1;\"2;\"\n", "a|b\n1|2;\n");
    ROWS("a;b,c\n", "a;b|c\n");
    ROWS("a;b\tc\n", "a;b|c\n");
    ROWS("\xef\xbb\xbf" "a,b\n", "a|b\n");
    ROWS("\xef\xbb\xbf" "\"a\",b\n", "a|b\n");
    ROWS("a,\"x,y\"\n", "a|x,y\n");
    ROWS("a,\"say \"\"hi\"\"\"\n", "a|say \"hi\"\n");
    ROWS("\"\"\"\",\"\"\n", "\"|\n");
    ROWS("a,\"two\nlines\"\nb,c\n", "a|two\nlines\nb|c\n");
    ROWS("a,\"two\r\nlines\"\n", "a|two\r\nlines\n");
    ROWS("a,\nb,\n", "a|\nb|\n");
    ROWS(",\n", "|\n");
    ROWS("a,b\n\n\nc,d\n\n", "a|b\nc|d\n");
    ROWS("5\" disk,\"x\ny\"\n", "5\" disk|x\ny\n");
    ROWS("", "");
    ROWS("\n\n", "");
    ROWS("\"\"\n", "\n");
    ROWS(" a , b \n", " a | b \n");
}

TEST(bad_rows_are_named_and_passed_over) {
    ROWS("a,b\n1\n2,3\n", "a|b\n!t.csv:2: 1 fields, expected 2 as in the first row\n2|3\n");
    ROWS("a,b\n1,2,3\n4,5\n", "a|b\n!t.csv:2: 3 fields, expected 2 as in the first row\n4|5\n");
    ROWS("a,\"x\ny\"\n1\n", "a|x\ny\n!t.csv:3: 1 fields, expected 2 as in the first row\n");
    ROWS("a,\"x\r\ny\rz\"\n1\n", "a|x\r\ny\rz\n!t.csv:4: 1 fields, expected 2 as in the first row\n");
    ROWS("a,b\n\"c\"d,e\nf,g\n",
         "a|b\n!t.csv:2: text follows the quote that closes a field; double the quotes inside fields\nf|g\n");
    ROWS("a,b\n\"x\ny\"z,\n1\n",
         "a|b\n!t.csv:2: text follows the quote that closes a field; double the quotes inside fields\n"
         "!t.csv:4: 1 fields, expected 2 as in the first row\n");
    ROWS("a,b\n\"c,d\ne,f\n", "a|b\n!t.csv:2: the quote that opens a field is never closed\n");
    ROWS("a,\"", "!t.csv:1: the quote that opens a field is never closed\n");
    ROWS("a,\"\"\"", "!t.csv:1: the quote that opens a field is never closed\n");
    ROWS("a,b\nc\xff,d\ne,f\n", "a|b\n!t.csv:2: a field is not UTF-8; save the file in UTF-8\ne|f\n");
    ROWS("a,b\nc\0,d\ne,f\n", "a|b\n!t.csv:2: a field holds a NUL byte\ne|f\n");
    ROWS("\xff\xfe" "a\0", "!t.csv: is UTF-16; save it in UTF-8\n");
}

TEST(header_and_columns) {
    csv_reader *r;
    csv_row row;
    vm_error e = { 0 };
    const char *text = "id,caption\n7,\"a, b\"\n";
    EXPECT(csv_open_text(&r, text, strlen(text), "t.csv", 0, CSV_HEADER, &e) == VM_OK);
    EXPECT(csv_columns(r) == 2 && csv_column(r, "caption") == 1 && csv_column(r, "image") == -1);
    EXPECT_STR(csv_column_name(r, 0), "id");
    EXPECT(csv_column_name(r, 2) == NULL);
    EXPECT(csv_need_column(r, "image", &e) == -1);
    EXPECT_STR(e.msg, "t.csv: has no column \"image\"; its columns are: id, caption");
    EXPECT(csv_next(r, &row, &e) == 1 && row.line == 2 && row.n == 2);
    EXPECT_STR(row.field[1], "a, b");
    EXPECT(csv_next(r, &row, &e) == 0);
    csv_close(r);
    EXPECT_STR(read_all("", 0, 0, CSV_HEADER), "!t.csv: is empty; expected a row with the names of the columns\n");
    EXPECT_STR(read_all("\"", 1, 0, CSV_HEADER), "!t.csv:1: the quote that opens a field is never closed\n");
}

TEST(written_rows_read_back) {
    const char *rows[][3] = { { "id", "text", "more" },       { "1", "plain", "" },       { "2", "a,b", "say \"hi\"" },
                              { "3", "two\nlines", "\r\n" },  { "", "", "" },             { "4", " blanks ", "\"" },
                              { "5", "\xc3\xa4", "tab\there" } };
    char path[512];
    snprintf(path, sizeof path, "%s/rows.csv", folder);
    for (const char *d = ",\t"; *d; d++) {
        vm_out *o;
        vm_error e = { 0 };
        EXPECT(vm_out_open(&o, path, &e) == VM_OK);
        for (int i = 0; i < VM_LEN(rows); i++) EXPECT(csv_write_row(o, *d, rows[i], 3, &e) == VM_OK);
        EXPECT(vm_out_commit(o, &e) == VM_OK);
        csv_reader *r;
        csv_row row;
        EXPECT(csv_open(&r, path, *d, 0, &e) == VM_OK);
        for (int i = 0; i < VM_LEN(rows); i++) {
            EXPECT(csv_next(r, &row, &e) == 1 && row.n == 3);
            for (int k = 0; k < 3; k++) EXPECT_STR(row.field[k], rows[i][k]);
        }
        EXPECT(csv_next(r, &row, &e) == 0);
        csv_close(r);
    }
    EXPECT(vm_mem_used() == 0);
}

TEST(one_empty_field_is_a_row) {
    char path[512], *text;
    snprintf(path, sizeof path, "%s/one.csv", folder);
    vm_out *o;
    vm_error e = { 0 };
    EXPECT(vm_out_open(&o, path, &e) == VM_OK);
    EXPECT(csv_write_row(o, ',', (const char *[]){ NULL }, 1, &e) == VM_OK);
    EXPECT(vm_out_commit(o, &e) == VM_OK);
    EXPECT(file_read(&text, NULL, path, 0, &e) == VM_OK);
    EXPECT_STR(text, "\"\"\n");
    vm_free(text);
}

TEST(memory_out_ends_cleanly) {
    for (int64_t i = 0; i < 40; i++) {
        csv_reader *r;
        csv_row row;
        vm_error e = { 0 };
        const char *text = "a,b\n\"1\",2\n3,4\n";
        vm_mem_fail_after(i);
        if (!csv_open_text(&r, text, strlen(text), "t.csv", 0, CSV_HEADER, &e)) {
            while (csv_next(r, &row, &e) == 1) {}
            csv_close(r);
        }
        vm_mem_fail_after(-1);
        EXPECT(vm_mem_used() == 0);
    }
}

int main(int argc, char **argv) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s/csv-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    folder = mkdtemp(dir);
    RUN(fields);
    RUN(bad_rows_are_named_and_passed_over);
    RUN(header_and_columns);
    RUN(written_rows_read_back);
    RUN(one_empty_field_is_a_row);
    RUN(memory_out_ends_cleanly);
    dir_remove(folder, NULL);
    return test_end();
}
