// Package backup is hookline backup: it has a running dispatcher copy its journal.
package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/hookline-dev/hookline/internal/cmd/options"
	"github.com/hookline-dev/hookline/internal/dispatcher"
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 10

// Run reads the command line and makes the backup. A wrong command line is explained on stderr and answers
// options.ErrUsage.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var (
		dataDir string
		request dispatcher.BackupRequest
	)

	flags := pflag.NewFlagSet("hookline backup", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stdout, "Usage: hookline backup [flags]\n\nCopies the journal of a running dispatcher.\n\n%s", flags.FlagUsages())
	}
	flags.StringVar(&dataDir, "data-dir", "", "folder of the journal of the running dispatcher (required)")
	flags.StringVar(&request.To, "to", "", "folder to make, on the dispatcher's machine; it must not exist (required)")
	flags.BoolVar(&request.KeepIdentity, "keep-identity", false,
		"let the copy have the journal's identity: for one that replaces the original and never runs beside it")

	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}

	switch {
	case err != nil:
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: everything after the command is a flag", flags.Arg(0))
	case dataDir == "":
		err = errors.New("--data-dir: is not set; name the folder of the running dispatcher's journal")
	case request.To == "":
		err = errors.New("--to: is not set; name the folder that is to be made")
	}

	if err != nil {
		fmt.Fprintf(stderr, "hookline backup: %v\n", err)

		return options.ErrUsage
	}

	if request.To, err = filepath.Abs(request.To); err != nil {
		return fmt.Errorf("reading --to: %w", err)
	}

	if err := ask(ctx, filepath.Join(dataDir, dispatcher.ControlSocket), request); err != nil {
		return err
	}

	fmt.Fprintln(stdout, "Copied the journal to "+request.To)

	return nil
}

// ask sends the request to the dispatcher behind the socket.
func ask(ctx context.Context, socket string, request dispatcher.BackupRequest) error {
	ctx, cancel := context.WithTimeout(ctx, dispatcher.BackupTimeout)
	defer cancel()

	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer

		return dialer.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()

	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}

	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://dispatcher"+dispatcher.PathBackup, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}

	response, err := (&http.Client{Transport: transport}).Do(post)

	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no dispatcher runs on %s, so nothing needs its help: copy the folder", filepath.Dir(socket))
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the dispatcher on %s runs as another user: run this as that one", filepath.Dir(socket))
	case err != nil:
		return fmt.Errorf("asking the dispatcher: %w", err)
	}
	defer response.Body.Close()

	var answer dispatcher.BackupAnswer
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer); err != nil {
		return fmt.Errorf("reading the dispatcher's answer, %s: %w", response.Status, err)
	}

	if answer.Error != "" {
		return errors.New(answer.Error)
	}

	return nil
}
