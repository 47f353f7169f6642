package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

const (
	// ControlSocket is the Unix socket in the journal's folder by which the machine's own user speaks to a running
	// dispatcher: who may write the folder may connect, and nobody else.
	ControlSocket = "control.sock"
	// PathBackup is what a backup is asked for at.
	PathBackup = "/backup"
	// BackupTimeout bounds one backup: copying tables to another file system takes as long as it takes.
	BackupTimeout = time.Hour
	// maxSocketPath is the longest path that every system takes for a socket, in bytes.
	maxSocketPath = 100
	// maxControlBytes bounds a request to the socket.
	maxControlBytes = 64 << 10
)

// BackupRequest asks for a backup.
type BackupRequest struct {
	// To is the absolute path of the folder that is made; it must not exist.
	To string `json:"to"`
	// KeepIdentity makes it a copy that replaces the original, never one that runs beside it.
	KeepIdentity bool `json:"keepIdentity"`
}

// BackupAnswer is the answer: no error means that the copy is whole and on the disk.
type BackupAnswer struct {
	Error string `json:"error,omitempty"`
}

// backup copies the journal while it is in use.
func (d *Dispatcher) backup(ctx context.Context, request BackupRequest) error {
	if !filepath.IsAbs(request.To) {
		return fmt.Errorf("--to: %q is no absolute path", request.To)
	}

	var files []embedded.File
	if request.KeepIdentity {
		files = append(files, embedded.File{Name: identityFile, Content: identityContent(d.identity)})
	}

	if err := d.journal.Checkpoint(ctx, filepath.Clean(request.To), files...); err != nil {
		return fmt.Errorf("backing up the journal: %w", err)
	}

	return nil
}

// serveControl serves the socket until the context ends. A folder whose path is too long for one has none.
func (d *Dispatcher) serveControl(ctx context.Context) error {
	path := filepath.Join(d.cfg.DataDir, ControlSocket)
	if len(path) > maxSocketPath {
		d.log.Warn("Left out the control socket: backups of a running dispatcher need a shorter --data-dir",
			"bytes", len(path), "most", maxSocketPath)

		return nil
	}

	// The journal is locked by this process, so what is there was left by one that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an old control socket: %w", err)
	}

	var config net.ListenConfig

	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("opening the control socket: %w", err)
	}

	// The folder itself keeps others out meanwhile.
	if err := os.Chmod(path, identityMode); err != nil {
		return errors.Join(fmt.Errorf("closing the control socket to others: %w", err), listener.Close())
	}

	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PathBackup, d.handleBackup)

	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: ReadHeaderTimeout, ReadTimeout: ReadTimeout, MaxHeaderBytes: MaxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()

	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the control socket: %w", err)
	}

	return nil
}

func (d *Dispatcher) handleBackup(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), BackupTimeout)
	defer cancel()

	var request BackupRequest

	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBytes)).Decode(&request)
	if err != nil {
		err = fmt.Errorf("reading the request: %w", err)
	} else {
		err = d.backup(ctx, request)
	}

	answer := BackupAnswer{}
	status := http.StatusOK

	if err != nil {
		d.log.Error("Failed to back up the journal", "error", err)

		answer.Error, status = err.Error(), http.StatusUnprocessableEntity
	}

	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)

	if err := json.NewEncoder(w).Encode(answer); err != nil {
		d.log.Warn("Failed to answer who asked for a backup", "error", err)
	}
}
