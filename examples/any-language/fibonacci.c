/* Writes the output `numbers`: a JSON list of the first $WINDLASS_PARAM_n Fibonacci numbers. */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const char *n_text = getenv("WINDLASS_PARAM_n"), *outputs = getenv("WINDLASS_OUTPUTS");
    if (!n_text || !outputs) {
        fputs("run me as a step of a pipeline\n", stderr);
        return 1;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/numbers.json", outputs);
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        return 1;
    }
    unsigned long long a = 0, b = 1;
    fputc('[', file);
    for (int i = 0, n = atoi(n_text); i < n; i++) {
        fprintf(file, "%s%llu", i ? "," : "", a);
        unsigned long long next = a + b;
        a = b;
        b = next;
    }
    fputs("]\n", file);
    printf("%s numbers\n", n_text);
    return fclose(file) ? 1 : 0;
}
